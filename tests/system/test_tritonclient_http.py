"""An unmodified tritonclient over HTTP gets the same bits as the scorer, the model's description, and useful errors."""

import numpy as np
import pytest

from anomaly_vae.service.rpc.inference_messages import OUTPUTS
from tests.support.other_clients import ask_by, require_client


@pytest.fixture(scope="module")
def answers(model_path, new_rows, tmp_path_factory):
    require_client("tritonclient", "import tritonclient.http")
    folder = tmp_path_factory.mktemp("tritonclient_http")
    return ask_by("tritonclient", model_path, new_rows, folder, timeout=120, script="ask_over_http_by", over_http=True)


@pytest.mark.parametrize("call", ["FP64", "FP32", "JSON", "async"])
def test_rows_score_as_in_the_scorer_bit_for_bit(answers, scorer, new_rows, call):
    """Also through tritonclient's own JSON."""
    expected = scorer.score(new_rows.astype(np.float32) if call == "FP32" else new_rows)
    for name in OUTPUTS:
        found, values = answers[0][f"{call}.{name}"], getattr(expected, name)
        assert (found.dtype, found.tobytes()) == (values.dtype, values.tobytes()), name


def test_only_the_requested_outputs_come_in_the_requested_order(answers):
    arrays, facts = answers
    assert (facts["order"], facts["id"]) == (["is_anomaly", "log_px"], "order 66")
    assert {name for name in arrays if name.startswith("some.")} == {"some.is_anomaly", "some.log_px"}


def test_another_budget_gives_what_needs_no_calibration(answers, scorer, new_rows):
    found = {name.removeprefix("budget.") for name in answers[0] if name.startswith("budget.")}
    assert found == {"log_px", "elbo", "std_error", "score"}
    assert answers[0]["budget.log_px"].tobytes() == scorer.score_rows(new_rows, num_samples=64).log_px.tobytes()


def test_the_server_and_its_model_are_live_ready_and_described(answers, new_rows):
    facts = answers[1]
    assert facts["live"] is facts["ready"] is True
    assert (facts["model_ready"], facts["other_ready"]) == ([True, True], False)
    assert "binary_tensor_data" in facts["server"]["extensions"]
    columns = new_rows.shape[1]
    assert facts["metadata"]["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, columns]}]
    assert facts["config"]["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [columns]}]
    assert facts["index"] == [{"name": "model", "version": "1", "state": "READY", "reason": ""}]
    for name in ("statistics", "all_statistics"):
        assert facts[name][0]["inference_count"] == 6 * len(new_rows)


@pytest.mark.parametrize(
    ("name", "status", "text"),
    [
        ("model", "404", "'other' is not served here, 'model' is"),
        ("integers", "400", "is 'INT64', expected FP32, FP64 or UINT8"),
        ("infinity", "400", "row 0, column 'pressure' is inf"),
        ("gzip", "415", "send the body without compression"),
    ],
)
def test_errors_reach_the_client_with_status_and_message(answers, name, status, text):
    found = answers[1]["faults"][name]
    assert found[0] == status, found
    assert text in found[1]
