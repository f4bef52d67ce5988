"""Replies become arrays, and failed calls the package's errors; no service takes part."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, RetryInfo

from anomaly_vae.client.connection import connection_settings
from anomaly_vae.client.replies import empty_flags, empty_scores, requested_delay_s, to_error, to_flags, to_scores
from anomaly_vae.errors import InvalidInput, Overloaded, ServiceError
from anomaly_vae.service.pb import scoring_pb2 as pb
from tests.support.grpc_errors import REFUSED, FailedCall

NUMBERS = ("log_px", "score", "elbo", "std_error", "ess_ratio", "pareto_k")
Code = grpc.StatusCode
VIOLATION = BadRequest(field_violations=[BadRequest.FieldViolation(field="tensor.shape", description="4 columns")])


def reply_of(num_rows: int, *, calibrated: bool = True) -> pb.ScoreResponse:
    """A reply with a number of its own in every entry."""
    columns = {name: 100.0 * i + np.arange(num_rows) for i, name in enumerate(NUMBERS)}
    flags = np.arange(num_rows) % 2 == 0
    more = {"p_value": np.arange(1, num_rows + 1) / 10, "is_anomaly": flags} if calibrated else {}
    reasons = ["", *["column 'a' is new"] * (num_rows - 1)]
    return pb.ScoreResponse(**columns, **more, reliable=~flags, num_samples=[64] * num_rows, reason=reasons)


def settings_of(target: str = "127.0.0.1:9", token: str = ""):
    return connection_settings(
        target, model_name="", model_version="", timeout=None, retries=None, tls=None, token=token
    )


def test_every_field_of_a_reply_becomes_the_array_of_the_same_name():
    scores = to_scores(reply_of(3), 3)
    for i, name in enumerate(NUMBERS):
        np.testing.assert_array_equal(getattr(scores, name), 100.0 * i + np.arange(3), err_msg=name, strict=True)
    np.testing.assert_array_equal(scores.p_value, [0.1, 0.2, 0.3])
    np.testing.assert_array_equal(scores.is_anomaly, [True, False, True], strict=True)
    np.testing.assert_array_equal(scores.reliable, [False, True, False], strict=True)
    np.testing.assert_array_equal(scores.num_samples, np.full(3, 64), strict=True)
    assert scores.reason == [None, "column 'a' is new", "column 'a' is new"]  # an empty text is no reason


def test_a_reply_may_have_contrasts():
    reply = reply_of(3)
    assert to_scores(reply, 3).contrast is None
    reply.contrast.extend([1.5, -2.0, 0.0])
    np.testing.assert_array_equal(to_scores(reply, 3).contrast, [1.5, -2.0, 0.0], strict=True)
    reply.contrast.append(1.0)
    with pytest.raises(ServiceError, match="4 entries of contrast for 3 rows"):
        to_scores(reply, 3)


def test_a_reply_without_p_values_has_no_flags():
    scores = to_scores(reply_of(3, calibrated=False), 3)
    assert scores.p_value is scores.is_anomaly is None
    assert len(scores) == 3


def test_flags_need_no_other_field():
    flags = to_flags(pb.ScoreResponse(is_anomaly=[True, False], num_samples=[16, 64], reason=["", ""]), 2)
    np.testing.assert_array_equal(flags.is_anomaly, [True, False], strict=True)
    assert (flags.num_samples.tolist(), flags.reason) == ([16, 64], [None, None])


@pytest.mark.parametrize("name", [*NUMBERS, "p_value", "is_anomaly", "reliable", "num_samples", "reason"])
def test_a_field_with_another_number_of_rows_is_named(name):
    """Without the check, scores of other rows would be returned without an error."""
    reply = reply_of(3)
    del getattr(reply, name)[2:]
    with pytest.raises(ServiceError, match=rf"the reply has 2 entries of {name} for 3 rows") as error:
        to_scores(reply, 3)
    assert error.value.code == "INTERNAL"


@pytest.mark.parametrize("calibrated", [False, True])
def test_no_rows_have_the_types_of_some_rows(calibrated):
    none, some = empty_scores(calibrated=calibrated), to_scores(reply_of(1, calibrated=calibrated), 1)
    assert len(none) == len(empty_flags()) == 0
    for name, values in vars(some).items():
        if isinstance(values, np.ndarray):
            assert getattr(none, name).dtype == values.dtype, name
        else:
            assert type(getattr(none, name)) is type(values), name


def test_invalid_rows_are_invalid_input_with_the_field():
    failure = FailedCall(Code.INVALID_ARGUMENT, "tensor.shape: has 4 columns", VIOLATION)
    error = to_error(failure, settings_of())
    assert isinstance(error, InvalidInput)
    assert (str(error), error.field) == ("127.0.0.1:9: tensor.shape: has 4 columns", "tensor.shape")
    assert to_error(FailedCall(Code.INVALID_ARGUMENT, "bad"), settings_of()).field is None


def test_a_full_queue_is_overloaded_only_if_the_service_says_when_to_return():
    """RESOURCE_EXHAUSTED without a time comes from gRPC itself, for a message that is too large, for example."""
    delay = RetryInfo(retry_delay=Duration(seconds=2, nanos=500_000_000))
    full = FailedCall(Code.RESOURCE_EXHAUSTED, "full", VIOLATION, delay)
    assert requested_delay_s(full) == 2.5
    error = to_error(full, settings_of())
    assert isinstance(error, Overloaded)
    assert error.retry_after == 2.5
    other = to_error(FailedCall(Code.RESOURCE_EXHAUSTED, "too large"), settings_of())
    assert (type(other), other.code) == (ServiceError, "RESOURCE_EXHAUSTED")


@pytest.mark.parametrize(
    ("code", "text", "token", "part"),
    [
        (Code.DEADLINE_EXCEEDED, "Deadline Exceeded", "", "no reply in time; send fewer rows per call"),
        (Code.UNAUTHENTICATED, "no token", "", "no token; set ANOMALY_VAE_TOKEN, or pass token"),
        (Code.UNAUTHENTICATED, "wrong token", "secret", "wrong token; is the token the right one?"),
        (Code.UNAVAILABLE, REFUSED, "", "no service answers there: it is not started"),
        (Code.INTERNAL, "a fault", "", "127.0.0.1:9: a fault"),
    ],
)
def test_other_failures_are_service_errors_with_the_code_and_what_to_do(code, text, token, part):
    error = to_error(FailedCall(code, text), settings_of(token=token))
    assert (type(error), error.code) == (ServiceError, code.name)
    assert str(error).startswith("127.0.0.1:9: ")
    assert part in str(error)
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    "trailing", [(("grpc-status-details-bin", b"\xff\xff"),), (("grpc-status-details-bin", b"\x08\x05"),)]
)
def test_details_of_another_program_are_ignored(trailing):
    """A proxy may answer with bytes that are no status, or with a status of another code: the text is still shown."""
    failure = FailedCall(Code.RESOURCE_EXHAUSTED, "a proxy", trailing=trailing)
    assert requested_delay_s(failure) is None
    assert str(to_error(failure, settings_of())) == "127.0.0.1:9: a proxy"
