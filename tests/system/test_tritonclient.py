"""An unmodified tritonclient gets the same bits as the scorer, the model's description, and errors that say what to do.

It runs in its own environment and process: it needs an older protobuf, and its symbols clash with those of this
package.
"""

import numpy as np
import pytest

import anomaly_vae
from anomaly_vae.service.rpc.inference_messages import OUTPUTS
from tests.support.other_clients import ask_by, require_client


@pytest.fixture(scope="module", autouse=True)
def environment():
    require_client("tritonclient", "import tritonclient.grpc")


@pytest.fixture(scope="module")
def answers(environment, model_path, new_rows, tmp_path_factory):
    return ask_by("tritonclient", model_path, new_rows, tmp_path_factory.mktemp("tritonclient"), timeout=120)


@pytest.fixture
def arrays(answers):
    return answers[0]


@pytest.fixture
def facts(answers):
    return answers[1]


@pytest.mark.parametrize("call", ["FP64", "async", "gzip", "FP32"])
def test_rows_score_as_in_the_scorer_bit_for_bit(arrays, scorer, new_rows, call):
    expected = scorer.score(new_rows.astype(np.float32) if call == "FP32" else new_rows)
    for name in OUTPUTS:
        found, values = arrays[f"{call}.{name}"], getattr(expected, name)
        assert (found.dtype, found.tobytes()) == (values.dtype, values.tobytes()), name


def test_only_the_requested_outputs_come_in_the_requested_order(arrays, facts, scorer, new_rows):
    assert facts["order"] == ["is_anomaly", "log_px"]
    assert {name for name in arrays if name.startswith("some.")} == {"some.is_anomaly", "some.log_px"}
    assert arrays["some.log_px"].tobytes() == scorer.score(new_rows).log_px.tobytes()


def test_another_budget_gives_what_needs_no_calibration(arrays, scorer, new_rows):
    found = {name.removeprefix("budget.") for name in arrays if name.startswith("budget.")}
    assert found == {"log_px", "elbo", "std_error", "score"}
    assert arrays["budget.log_px"].tobytes() == scorer.score_rows(new_rows, num_samples=64).log_px.tobytes()


def test_requests_get_their_names_back(facts):
    assert facts["id"] == ["order 66", "later"]
    assert facts["async_error"] is None


def test_the_server_and_its_model_are_live_and_ready_and_no_other(facts):
    assert facts["live"] is facts["ready"] is True
    assert facts["model_ready"] == [True, True]
    assert facts["other_ready"] is False


STREAMS = (
    "stream",
    "stream with final responses",
    "stream with a sequence",
    "stream with a timeout",
    "asynchronous stream",
)


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_gives_the_same_bits_and_one_final_response_for_each_request(arrays, facts, scorer, new_rows, name):
    expected = scorer.score(new_rows)
    answers = facts["streams"][name]
    assert len(answers) == 5
    assert "column 'pressure' is inf" in answers[2]
    for i in (0, 1, 3, 4):
        assert answers[i] == [str(i), True]
        for output in OUTPUTS:
            assert arrays[f"{name} {i}.{output}"].tobytes() == getattr(expected, output).tobytes(), output


def test_statistics_count_the_requests_since_the_model_was_loaded(facts, new_rows):
    """Read before any request, and after five streams of four good requests and one bad request each."""
    (before,), (after,) = (answer["model_stats"] for answer in facts["statistics"])
    assert (before["name"], before["version"]) == (after["name"], after["version"]) == ("model", "1")
    assert "last_inference" not in before
    assert int(after["last_inference"]) > 1.7e12
    assert int(after["inference_count"]) == 20 * len(new_rows)
    assert int(after["execution_count"]) > 0
    stages = {name: (int(stage["count"]), int(stage["ns"])) for name, stage in after["inference_stats"].items()}
    assert {name: count for name, (count, _) in stages.items()} == {
        "success": 20,
        "fail": 5,
        "queue": 20,
        "compute_input": 20,
        "compute_infer": 20,
        "compute_output": 20,
    }
    assert min(ns for _, ns in stages.values()) > 0


def test_metadata_and_configuration_describe_the_model(facts, new_rows):
    assert facts["server"]["version"] == anomaly_vae.__version__
    assert facts["server"]["extensions"] == ["model_configuration", "model_repository", "parameters", "statistics"]
    metadata, config = facts["metadata"], facts["config"]["config"]
    columns = str(new_rows.shape[1])
    assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": ["-1", columns]}]
    assert [(t["name"], t["datatype"]) for t in metadata["outputs"]] == list(OUTPUTS.items())
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [columns]}]
    assert [(t["name"], t["data_type"]) for t in config["output"]] == [(n, f"TYPE_{t}") for n, t in OUTPUTS.items()]
    assert config["max_batch_size"] == 16_384


@pytest.mark.parametrize(
    ("name", "status", "text"),
    [
        ("model", "NOT_FOUND", "model_name: 'other' is not served here, 'model' is"),
        ("version", "NOT_FOUND", "version: '2' is not served here, '1' of 'model' is"),
        ("infinity", "INVALID_ARGUMENT", "raw_input_contents[0]: row 2, column 'flow' is inf"),
        ("integers", "INVALID_ARGUMENT", "inputs[0].datatype: is 'INT64', expected FP32, FP64 or UINT8"),
        ("shared memory", "INVALID_ARGUMENT", "inputs[0].parameters: 'shared_memory_"),
        ("classes", "INVALID_ARGUMENT", "outputs[0].parameters: 'classification' is not offered here"),
        ("output", "INVALID_ARGUMENT", "outputs[0].name: is 'log_p', expected one of log_px"),
        ("timeout", "DEADLINE_EXCEEDED", "the request's timeout passed"),
        # The service watches the same deadline as the client: either may report it first.
        ("client_timeout", "DEADLINE_EXCEEDED", "Deadline Exceeded|the deadline passed before the rows were scored"),
        ("explicit", "FAILED_PRECONDITION", "start the service with --model-control explicit"),
        ("unoffered", "UNIMPLEMENTED", ""),
    ],
)
def test_errors_reach_the_client_with_status_and_message(facts, name, status, text):
    found = facts["faults"][name]
    assert found[0] == f"StatusCode.{status}", found
    assert any(words in found[1] for words in text.split("|")), found
