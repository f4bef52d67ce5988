"""The record of a call while it runs, for its log line and its span."""

from __future__ import annotations

import traceback
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

import grpc

from anomaly_vae.service.telemetry.trace_context import TraceContext

__all__ = ["CallRecord", "Span", "begin_record", "caller_of", "current_call", "frames_of", "set_token_name"]

# Chosen, not measured: they bound the size of a log line and of a trace.
_MAX_FRAMES = 32
_MAX_STAGES = 64
_PACKAGES = Path(__file__).parents[3]


class Span(Protocol):
    """The span of a call in a trace."""

    trace: TraceContext
    recording: bool

    def end(self, record: CallRecord) -> None:
        """End the span with the outcome of the call. Must not block or raise."""


@dataclass(slots=True, eq=False)
class CallRecord:
    """A call, filled in while it runs. Of its rows it holds only their number.

    Attributes:
        kind: unary, server_stream, client_stream or bidi_stream.
        service, method: As in ``/service/method``.
        caller: Who shares the machine with other callers: the name of the token, otherwise the connection.
        request_id: The caller's id of the request.
        rows: Number of rows in its requests.
        model_version: The version that answered.
        code, seconds: Its status and its duration.
        error_type, frames: Type of an exception that is a fault of ours, and its frames, innermost last.
        trace: Its position in a trace.
        span: Its span, from the tracer.
        stages: Name, start and end of its stages by ``perf_counter``; None if they are not recorded.
    """

    kind: str
    service: str
    method: str
    caller: str = ""
    request_id: str = ""
    rows: int = 0
    model_version: str = ""
    code: grpc.StatusCode = grpc.StatusCode.OK
    seconds: float = 0.0
    error_type: str = ""
    frames: tuple[str, ...] = ()
    trace: TraceContext | None = None
    span: Span | None = None
    stages: list[tuple[str, float, float]] | None = None

    def add_request(self, request_id: str, num_rows: int) -> None:
        """Record a request. A stream keeps the last id and the sum of the rows."""
        self.request_id = request_id
        self.rows += num_rows

    def add_stage(self, name: str, start: float, end: float) -> None:
        """Record a stage, if stages are recorded."""
        if self.stages is not None and len(self.stages) < _MAX_STAGES:  # a stream may have any number of requests
            self.stages.append((name, start, end))

    def set_error(self, error: BaseException) -> None:
        """Record an exception that is a fault of ours. Its text is left out: it may hold values of a row."""
        self.error_type = type(error).__name__
        self.frames = frames_of(error.__traceback__)


_CALL: ContextVar[CallRecord | None] = ContextVar("call", default=None)
_TOKEN: ContextVar[str] = ContextVar("token", default="")


def set_token_name(name: str) -> None:
    """Set the name of the token that allowed the call of the current task."""
    _TOKEN.set(name)


def caller_of(context: grpc.aio.ServicerContext) -> str:
    """Return who makes a call: the name of the token if tokens are required, otherwise the connection."""
    name = _TOKEN.get()
    return f"token:{name}" if name else str(context.peer())


def begin_record(kind: str, service: str, method: str, caller: str = "") -> CallRecord:
    """Start a record. It is the current call of this task and of the threads that it starts work in."""
    record = CallRecord(kind, service, method, caller)
    _CALL.set(record)
    return record


def current_call() -> CallRecord:
    """Return the record of the current call. Outside of a call, return a new record that is not used."""
    return _CALL.get() or CallRecord("", "", "")


def frames_of(trace: TracebackType | None) -> tuple[str, ...]:
    """Return ``path:line in function`` for the last 32 frames, innermost last."""
    return tuple(
        f"{_short(frame.filename)}:{frame.lineno} in {frame.name}"
        for frame in traceback.extract_tb(trace, limit=-_MAX_FRAMES)
    )


def _short(filename: str) -> str:
    path = Path(filename)
    return str(path.relative_to(_PACKAGES)) if path.is_relative_to(_PACKAGES) else filename
