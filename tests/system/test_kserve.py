"""KServe's unmodified client gets the same bits as the scorer, and errors that say what to do.

It runs in its own environment and process: it needs an older protobuf, and its symbols clash with those of this
package. Its only gRPC client is the asynchronous one.
"""

import numpy as np
import pytest

from anomaly_vae.service.rpc.inference_messages import OUTPUTS
from tests.support.other_clients import ask_by, require_client


@pytest.fixture(scope="module", autouse=True)
def environment():
    require_client("kserve", "import importlib.metadata; importlib.metadata.version('kserve')")


@pytest.fixture(scope="module")
def answers(environment, model_path, new_rows, tmp_path_factory):
    return ask_by("kserve", model_path, new_rows, tmp_path_factory.mktemp("kserve"), timeout=240)


@pytest.fixture
def arrays(answers):
    return answers[0]


@pytest.fixture
def facts(answers):
    return answers[1]


@pytest.mark.parametrize("call", ["FP64", "typed FP64", "array", "list", "parameters", "FP32", "typed FP32"])
def test_rows_score_as_in_the_scorer_bit_for_bit(arrays, scorer, new_rows, call):
    expected = scorer.score(new_rows.astype(np.float32) if call.endswith("FP32") else new_rows)
    for name in OUTPUTS:
        found, values = arrays[f"{call}.{name}"], getattr(expected, name)
        assert (found.dtype, found.tobytes()) == (values.dtype, values.tobytes()), name


def test_only_the_requested_outputs_come_in_the_requested_order(arrays, facts, scorer, new_rows):
    assert facts["order"] == ["is_anomaly", "log_px"]
    assert arrays["some.log_px"].tobytes() == scorer.score(new_rows).log_px.tobytes()


def test_another_budget_gives_what_needs_no_calibration(arrays, scorer, new_rows):
    found = {name.removeprefix("budget.") for name in arrays if name.startswith("budget.")}
    assert found == {"log_px", "elbo", "std_error", "score"}
    assert arrays["budget.log_px"].tobytes() == scorer.score_rows(new_rows, num_samples=64).log_px.tobytes()


def test_the_reply_names_the_request_and_the_model(facts):
    assert facts["answered"] == ["order 66", "model", "1"]


def test_the_server_and_its_model_are_live_and_ready_and_no_other(facts):
    assert facts["live"] is facts["ready"] is facts["model_ready"] is True
    assert facts["other_ready"] is False


@pytest.mark.parametrize(
    ("name", "status", "text"),
    [
        ("model", "NOT_FOUND", "model_name: 'other' is not served here, 'model' is"),
        ("infinity", "INVALID_ARGUMENT", "raw_input_contents[0]: row 2, column 'flow' is inf"),
        ("integers", "INVALID_ARGUMENT", "inputs[0].datatype: is 'INT64', expected FP32, FP64 or UINT8"),
        ("size", "INVALID_ARGUMENT", "inputs[0].parameters.binary_data_size: is 2992, the values have 3000 bytes"),
        ("shared memory", "INVALID_ARGUMENT", "inputs[0].parameters: 'shared_memory_"),
        ("output", "INVALID_ARGUMENT", "outputs[0].name: is 'log_p', expected one of log_px"),
        ("misspelt", "INVALID_ARGUMENT", "parameters: 'num_sample' is not known here; name it num_samples"),
        ("timeout", "DEADLINE_EXCEEDED", "Deadline Exceeded"),
    ],
)
def test_errors_reach_the_client_with_status_and_message(facts, name, status, text):
    found = facts["faults"][name]
    assert found[0] == status, found
    assert text in found[1]
