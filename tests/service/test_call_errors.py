"""Errors as a caller receives them."""

import asyncio

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st

from anomaly_vae.service.call_errors import CallError, abort, internal, invalid
from tests.support.contexts import Context


def aborted_by(error):
    """Return code, text and the details of the status that a caller gets."""
    context = Context()
    with pytest.raises(grpc.aio.AbortError):
        asyncio.run(abort(context, error))
    code, text, trailing = context.aborted
    if not trailing:
        return code, text, []
    ((key, data),) = trailing
    assert key == "grpc-status-details-bin"
    status = Status.FromString(data)
    assert (status.code, status.message) == (code.value[0], text)
    return code, text, list(status.details)


def unpacked(detail: Any, kind):
    message = kind()
    assert detail.Unpack(message)
    return message


def test_a_wrong_field_is_named_in_the_text_and_in_the_details():
    code, text, (detail,) = aborted_by(invalid("tensor.shape", "has 1 dimensions"))
    assert (code, text) == (grpc.StatusCode.INVALID_ARGUMENT, "tensor.shape: has 1 dimensions")
    (violation,) = unpacked(detail, BadRequest).field_violations
    assert (violation.field, violation.description) == ("tensor.shape", "has 1 dimensions")


def test_the_delay_before_a_retry_is_in_the_details():
    error = CallError(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", retry_after=1.25)
    code, text, (detail,) = aborted_by(error)
    assert (code, text) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
    assert unpacked(detail, RetryInfo).retry_delay.ToTimedelta().total_seconds() == 1.25


def test_without_a_field_or_a_delay_there_are_no_details():
    assert aborted_by(CallError(grpc.StatusCode.NOT_FOUND, "no model")) == (grpc.StatusCode.NOT_FOUND, "no model", [])


def test_an_error_of_the_service_itself_says_only_where_to_look():
    assert aborted_by(internal()) == (grpc.StatusCode.INTERNAL, "internal error; the server's log says where", [])


@given(st.text(max_size=700))
def test_any_text_becomes_one_short_printable_line(text):
    """The line is in the trailing metadata three times, once with three bytes for one; clients allow 8 KiB."""
    error = CallError(grpc.StatusCode.INTERNAL, text)
    assert error.text.isprintable()
    assert len(error.text.encode()) <= 503
    data = len(error.text.encode())
    assert 2 * data + 3 * data < 8_192


@pytest.mark.parametrize("letter", ["x", "ü", "€", "\N{GRINNING FACE}"])
def test_a_long_text_is_cut_between_two_letters(letter):
    """500 bytes are 250 of two bytes, 166 of three and 125 of four."""
    text = CallError(grpc.StatusCode.INTERNAL, letter * 501).text
    assert text == letter * (500 // len(letter.encode())) + "..."
    assert CallError(grpc.StatusCode.INTERNAL, "x" * 500).text == "x" * 500


def test_line_breaks_become_spaces_and_other_control_characters_question_marks():
    assert CallError(grpc.StatusCode.INTERNAL, " a\n\tb\x00c\ud800").text == "a b?c?"
