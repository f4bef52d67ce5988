"""ScoreRequest as a message format: the model, the options, the rows and the reply of a request."""

from dataclasses import replace

import numpy as np
import pytest

from anomaly_vae.score_options import ScoreOptions
from anomaly_vae.scores import Flags
from anomaly_vae.service.call_errors import CallError
from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.rpc.score_format import ScoreFormat, check_budget
from tests.support.data import make_rows
from tests.support.running import INVALID, tensor
from tests.support.served import DIGEST, LIMITS, scores_of, served_model

FORMAT, SERVED = ScoreFormat(LIMITS), served_model()
ROWS = make_rows(6, seed=5)
ERRORS = {
    "odd samples": ({"tensor": tensor(ROWS), "num_samples": 100}, "num_samples", "is 100, expected 0"),
    "negative samples": ({"tensor": tensor(ROWS), "num_samples": -1}, "num_samples", "is -1"),
    "absurd samples": ({"tensor": tensor(ROWS), "num_samples": 2**31 - 1}, "num_samples", f"is {2**31 - 1}"),
    "flags of another budget": ({"tensor": tensor(ROWS), "num_samples": 64, "flag_only": True}, "flag_only", "1024"),
    "a negative error": ({"tensor": tensor(ROWS), "max_std_error": -0.1}, "max_std_error", "is -0.1, expected"),
    "no error at all": ({"tensor": tensor(ROWS), "max_std_error": np.nan}, "max_std_error", "is nan"),
    "an infinite error": ({"tensor": tensor(ROWS), "max_std_error": np.inf}, "max_std_error", "is inf"),
    "flags to an error": ({"tensor": tensor(ROWS), "max_std_error": 0.1, "flag_only": True}, "max_std_error", "flag"),
    "fewer than no columns": ({"tensor": tensor(ROWS), "explain": -1}, "explain", "is -1, expected 0 for none"),
    "too many columns": ({"tensor": tensor(ROWS), "explain": 17}, "explain", "is 17, expected"),
    "all without a number": ({"tensor": tensor(ROWS), "explain_all": True}, "explain_all", "without explain"),
    "no flags to explain": ({"tensor": tensor(ROWS), "explain": 3, "num_samples": 64}, "explain", "set explain_all"),
    "no flags at an error": ({"tensor": tensor(ROWS), "explain": 3, "max_std_error": 0.5}, "explain", "explain_all"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_options_that_the_model_lacks_are_refused(name):
    fields, field, text = ERRORS[name]
    with pytest.raises(CallError) as error:
        FORMAT.options(SERVED, pb.ScoreRequest(**fields))
    assert (error.value.code, error.value.field) == (INVALID, field)
    assert text in error.value.text


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({}, ScoreOptions(num_samples=1_024)),
        ({"num_samples": 1_024}, ScoreOptions(num_samples=1_024)),
        ({"num_samples": 64}, ScoreOptions(num_samples=64)),
        ({"max_std_error": 0.25}, ScoreOptions(num_samples=1_024, max_std_error=0.25)),
        ({"num_samples": 64, "max_std_error": 0.25}, ScoreOptions(num_samples=64, max_std_error=0.25)),
        ({"flag_only": True}, ScoreOptions(flag_only=True)),
        ({"flag_only": True, "num_samples": 1_024}, ScoreOptions(flag_only=True)),
    ],
)
def test_options_are_those_of_the_request(fields, options):
    """The calibrated budget by its number and by default are equal options, so that such rows share a batch."""
    assert FORMAT.options(SERVED, pb.ScoreRequest(**fields)).score == options


def test_an_unknown_budget_names_the_known_ones_and_its_own_field():
    for budget in (16, 64, 1_024):
        check_budget(SERVED, budget)
    with pytest.raises(CallError, match="is 65, expected 0 for the calibrated budget, or one of 16, 64, 1024") as error:
        check_budget(SERVED, 65, "parameters.num_samples")
    assert error.value.field == "parameters.num_samples"


def test_a_request_becomes_rows():
    message = FORMAT.parse(pb.ScoreRequest(tensor=tensor(ROWS), request_id="order 66").SerializeToString())
    assert FORMAT.request_id(message) == "order 66"
    assert FORMAT.count_rows(SERVED, message) == 6
    assert FORMAT.make_rows(SERVED, message).tobytes() == ROWS.tobytes()


def reply_to(scores):
    message = pb.ScoreRequest(request_id="order 66")
    return pb.ScoreResponse.FromString(FORMAT.write_reply(SERVED, message, FORMAT.options(SERVED, message), scores, []))


@pytest.mark.parametrize("contrast", [None, np.linspace(-2.0, 2.0, 5)], ids=["without a contrast", "with one"])
def test_a_reply_holds_every_field_of_the_scores_and_names_its_model(contrast):
    scores = replace(scores_of(5), contrast=contrast)
    reply, calibration = reply_to(scores), SERVED.scorer.bundle.manifest.calibration
    for name, expected in scores.by_row().items():
        if expected is None:
            assert (name, len(reply.contrast)) == ("contrast", 0)
        elif name != "reason":
            assert np.array(getattr(reply, name), expected.dtype).tobytes() == expected.tobytes(), name
    assert [reason or None for reason in reply.reason] == scores.reason
    assert (reply.threshold, reply.target_fpr) == (calibration.threshold, calibration.target_fpr)
    assert (reply.tail, reply.HasField("upper_threshold")) == ("low", False)
    assert (reply.model_name, reply.model_version, reply.bundle_digest) == ("model", "3", DIGEST)
    assert reply.request_id == "order 66"


def test_a_reply_of_a_model_with_two_thresholds_tells_both():
    served, message = served_model(tail="both"), pb.ScoreRequest()
    data = FORMAT.write_reply(served, message, FORMAT.options(served, message), scores_of(5), [])
    reply = pb.ScoreResponse.FromString(data)
    assert (reply.tail, reply.threshold, reply.upper_threshold) == ("both", 1.0, 97.0)


def test_a_reply_without_calibration_has_no_p_values_and_one_with_decisions_has_no_scores():
    uncalibrated = reply_to(scores_of(5, calibrated=False))
    assert len(uncalibrated.log_px) == 5
    assert len(uncalibrated.p_value) == len(uncalibrated.is_anomaly) == 0
    decisions = Flags(is_anomaly=np.array([True, False]), num_samples=np.array([16, 1_024]), reason=["new", None])
    flagged = reply_to(decisions)
    assert (list(flagged.is_anomaly), list(flagged.num_samples)) == ([True, False], [16, 1_024])
    assert list(flagged.reason) == ["new", ""]
    assert len(flagged.log_px) == len(flagged.score) == len(flagged.p_value) == 0


def test_explanations_are_options_of_the_request_and_need_flags_or_every_row():
    for fields, found in (
        ({}, (0, False)),
        ({"explain": 16, "flag_only": True}, (16, False)),
        ({"explain": 1, "explain_all": True, "num_samples": 64}, (1, True)),
    ):
        options = FORMAT.options(SERVED, pb.ScoreRequest(**fields))
        assert (options.explain, options.explain_all) == found
