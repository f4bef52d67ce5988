"""Faults of a call that the caller is told about, and the status each becomes; texts say nothing of our insides."""

from __future__ import annotations

from typing import NoReturn

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status

__all__ = ["Fault", "abort", "internal", "invalid"]

# gRPC clients refuse more than 8 KiB of trailing metadata; the text stands there three times, percent-encoded once.
_MOST_BYTES = 500


class Fault(Exception):
    """A call that fails on purpose.

    Attributes:
        code: Its status.
        text: What was found, what was expected and what to do.
        field: The request's field at fault, if one is.
        retry_after: Seconds after which to call again, or None.
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
        self.text = _clean(text)
        self.field = field
        self.retry_after = retry_after

    @property
    def message(self) -> str:
        """The field, if one is at fault, and the text."""
        return self.text if self.field is None else f"{self.field}: {self.text}"


def invalid(field: str, text: str) -> Fault:
    """A request that must be changed before it is sent again."""
    return Fault(grpc.StatusCode.INVALID_ARGUMENT, text, field=field)


def internal() -> Fault:
    """A fault of ours, of which the caller is told nothing."""
    return Fault(grpc.StatusCode.INTERNAL, "internal error; the server's log says where")


async def abort(context: grpc.aio.ServicerContext, fault: Fault) -> NoReturn:
    """End a call with the fault's status and its details as google.rpc messages."""
    details: list[Message] = []
    if fault.field is not None:
        violation = BadRequest.FieldViolation(field=fault.field, description=fault.text)
        details.append(BadRequest(field_violations=[violation]))
    if fault.retry_after is not None:
        delay = Duration()
        delay.FromMilliseconds(round(1000 * fault.retry_after))
        details.append(RetryInfo(retry_delay=delay))
    trailing: tuple[tuple[str, bytes], ...] = ()
    if details:
        status = Status(code=fault.code.value[0], message=fault.message)
        for detail in details:
            packed = Any()
            packed.Pack(detail)
            status.details.append(packed)
        trailing = (("grpc-status-details-bin", status.SerializeToString()),)
    await context.abort(fault.code, fault.message, trailing)
    raise AssertionError("abort always raises")


def _clean(text: str) -> str:
    line = "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
    data = line.encode(errors="replace")
    return line if len(data) <= _MOST_BYTES else f"{data[:_MOST_BYTES].decode(errors='ignore')}..."
