"""An unmodified tritonclient gets the scorer's bits, the model's description, and errors that say what to do.

It lives in an environment and a process of its own: it wants an older protobuf, and its symbols clash with ours.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

import anomaly_vae
from anomaly_vae.service.inference_convert import OUTPUTS
from tests.service.running import running

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-tritonclient" / "bin" / "python"


@pytest.fixture(scope="module")
def answers(model_path, new_rows, tmp_path_factory):
    """Arrays by "call.output", and all else that the client was told."""
    folder = tmp_path_factory.mktemp("tritonclient")
    np.save(folder / "rows.npy", new_rows)
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "ANOMALY_VAE_"))}
    with running(model_path) as service:
        command = [PYTHON, Path(__file__).with_name("ask_by_tritonclient.py"), service.target, folder]
        done = subprocess.run(command, capture_output=True, text=True, env=own, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
    with np.load(folder / "arrays.npz") as arrays:
        return dict(arrays), json.loads((folder / "told.json").read_text())


@pytest.fixture
def arrays(answers):
    return answers[0]


@pytest.fixture
def told(answers):
    return answers[1]


@pytest.fixture(scope="module", autouse=True)
def environment():
    """Skip where there is no tritonclient, but never in CI."""
    found = PYTHON.exists() and subprocess.run([PYTHON, "-c", "import tritonclient.grpc"], check=False).returncode == 0
    if not found:
        message = f"no tritonclient at {PYTHON}: `make test` installs it, which needs a package registry"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)


@pytest.mark.parametrize("call", ["FP64", "async", "gzip", "FP32"])
def test_rows_score_as_in_the_scorer_bit_for_bit(arrays, scorer, new_rows, call):
    expected = scorer.score(new_rows.astype(np.float32) if call == "FP32" else new_rows)
    for name in OUTPUTS:
        found, values = arrays[f"{call}.{name}"], getattr(expected, name)
        assert (found.dtype, found.tobytes()) == (values.dtype, values.tobytes()), name


def test_only_the_outputs_asked_for_come_in_the_order_asked(arrays, told, scorer, new_rows):
    assert told["order"] == ["is_anomaly", "log_px"]
    assert {name for name in arrays if name.startswith("some.")} == {"some.is_anomaly", "some.log_px"}
    assert arrays["some.log_px"].tobytes() == scorer.score(new_rows).log_px.tobytes()


def test_another_budget_gives_what_needs_no_calibration(arrays, scorer, new_rows):
    found = {name.removeprefix("budget.") for name in arrays if name.startswith("budget.")}
    assert found == {"log_px", "elbo", "std_error", "score"}
    assert arrays["budget.log_px"].tobytes() == scorer.score_rows(new_rows, 64).log_px.tobytes()


def test_requests_get_their_names_back(told):
    assert told["id"] == ["order 66", "later"]
    assert told["async_error"] is None


def test_the_server_and_its_model_are_live_and_ready_and_no_other(told):
    assert told["live"] is told["ready"] is True
    assert told["model_ready"] == [True, True]
    assert told["other_ready"] is False


STREAMS = (
    "stream",
    "stream with final responses",
    "stream with a sequence",
    "stream with a timeout",
    "asynchronous stream",
)


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_gives_the_same_bits_and_one_final_response_for_each_request(arrays, told, scorer, new_rows, name):
    expected = scorer.score(new_rows)
    answers = told["streams"][name]
    assert len(answers) == 5
    assert "column 'pressure' is inf" in answers[2]
    for i in (0, 1, 3, 4):
        assert answers[i] == [str(i), True]
        for output in OUTPUTS:
            assert arrays[f"{name} {i}.{output}"].tobytes() == getattr(expected, output).tobytes(), output


def test_statistics_tell_what_was_done_since_the_model_was_loaded(told, new_rows):
    """The second time after five streams of four requests with scores and one without."""
    (unasked,), (asked,) = (answer["model_stats"] for answer in told["statistics"])
    assert (unasked["name"], unasked["version"]) == (asked["name"], asked["version"]) == ("model", "1")
    assert "last_inference" not in unasked
    assert int(asked["last_inference"]) > 1.7e12
    assert int(asked["inference_count"]) == 20 * len(new_rows)
    assert int(asked["execution_count"]) > 0
    stages = {name: (int(stage["count"]), int(stage["ns"])) for name, stage in asked["inference_stats"].items()}
    assert {name: count for name, (count, _) in stages.items()} == {
        "success": 20,
        "fail": 5,
        "queue": 20,
        "compute_input": 20,
        "compute_infer": 20,
        "compute_output": 20,
    }
    assert min(ns for _, ns in stages.values()) > 0


def test_metadata_and_configuration_describe_the_model(told, new_rows):
    assert told["server"]["version"] == anomaly_vae.__version__
    assert told["server"]["extensions"] == ["model_configuration", "parameters", "statistics"]
    metadata, config = told["metadata"], told["config"]["config"]
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
        ("version", "NOT_FOUND", "version: '2' is not served here, '1' is"),
        ("infinity", "INVALID_ARGUMENT", "raw_input_contents[0]: row 2, column 'flow' is inf"),
        ("integers", "INVALID_ARGUMENT", "inputs[0].datatype: is 'INT64', expected FP32 or FP64"),
        ("shared memory", "INVALID_ARGUMENT", "inputs[0].parameters: 'shared_memory_"),
        ("classes", "INVALID_ARGUMENT", "outputs[0].parameters: 'classification' is not offered here"),
        ("output", "INVALID_ARGUMENT", "outputs[0].name: is 'log_p', expected one of log_px"),
        ("timeout", "DEADLINE_EXCEEDED", "the request's timeout passed"),
        ("client_timeout", "DEADLINE_EXCEEDED", "Deadline Exceeded"),
        ("unoffered", "UNIMPLEMENTED", ""),
    ],
)
def test_errors_reach_the_client_with_status_and_message(told, name, status, text):
    found = told["faults"][name]
    assert found[0] == f"StatusCode.{status}", found
    assert text in found[1]
