"""Errors that a caller receives as a status. Their texts reveal nothing of the service's internals."""

from __future__ import annotations

from typing import NoReturn

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status

__all__ = ["CallError", "abort", "internal", "invalid"]

# The most bytes of a text. gRPC clients refuse more than 8 KiB of trailing metadata; the text is in there three times,
# once percent-encoded, which may take three bytes for one.
_MOST_BYTES = 500


class CallError(Exception):
    """A call ends with this status.

    Attributes:
        code: The status code.
        text: What was found, what was expected and what to do.
        field: The request's field that is wrong, or None.
        retry_after: Seconds before a retry, or None.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        text: str,
        *,
        field: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(text)
        self.code = code
        self.text = _one_short_line(text)
        self.field = field
        self.retry_after = retry_after

    @property
    def message(self) -> str:
        """The field, if there is one, and the text."""
        return self.text if self.field is None else f"{self.field}: {self.text}"


def invalid(field: str, text: str) -> CallError:
    """Return INVALID_ARGUMENT for a field of a request."""
    return CallError(grpc.StatusCode.INVALID_ARGUMENT, text, field=field)


def internal() -> CallError:
    """Return INTERNAL, for an error of the service itself. Details are in the log only."""
    return CallError(grpc.StatusCode.INTERNAL, "internal error; the server's log says where")


async def abort(context: grpc.aio.ServicerContext, error: CallError) -> NoReturn:
    """End a call with the error's status, and with its details as google.rpc messages."""
    details: list[Message] = []
    if error.field is not None:
        violation = BadRequest.FieldViolation(field=error.field, description=error.text)
        details.append(BadRequest(field_violations=[violation]))
    if error.retry_after is not None:
        delay = Duration()
        delay.FromMilliseconds(round(1000 * error.retry_after))
        details.append(RetryInfo(retry_delay=delay))
    trailing: tuple[tuple[str, bytes], ...] = ()
    if details:
        status = Status(code=error.code.value[0], message=error.message)
        for detail in details:
            packed = Any()
            packed.Pack(detail)
            status.details.append(packed)
        trailing = (("grpc-status-details-bin", status.SerializeToString()),)
    await context.abort(error.code, error.message, trailing)
    raise AssertionError("abort always raises")


def _one_short_line(text: str) -> str:
    line = "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
    data = line.encode(errors="replace")
    return line if len(data) <= _MOST_BYTES else f"{data[:_MOST_BYTES].decode(errors='ignore')}..."
