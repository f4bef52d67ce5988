"""The record of a call while it runs, for its log line and its span."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

import grpc

from anomaly_vae.service.callers import NO_TOKEN, Caller
from anomaly_vae.service.telemetry.frames import frames_of
from anomaly_vae.service.telemetry.trace_context import TraceContext

__all__ = [
    "HTTP",
    "CallRecord",
    "Span",
    "begin_record",
    "caller_of",
    "current_call",
    "current_caller",
    "set_caller",
]

HTTP = "http"  # the kind of requests over HTTP

# Chosen, not measured: it bounds the size of a trace.
_MAX_STAGES = 64


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
        kind: unary, server_stream, client_stream, bidi_stream or http.
        service, method: As in ``/service/method``; of http the method and the template of the path.
        caller: Who shares the machine with other callers: the name of the token, otherwise the connection.
        identity: What is known of the caller, and what it may do.
        request_id: The caller's id of the request; of the last one of a stream.
        rows: Number of rows in its requests.
        model_name, model_version: The model that answered.
        code, seconds: Its status and its duration.
        http_code: The status of its reply over HTTP; 0 for gRPC.
        error_type, frames: Type of an exception that is a fault of ours, and its frames, innermost last.
        trace: Its position in a trace.
        span: Its span, from the tracer.
        stages: Name, start and end of its stages by ``perf_counter``; None if they are not recorded.
    """

    kind: str
    service: str
    method: str
    caller: str = ""
    identity: Caller = NO_TOKEN
    request_id: str = ""
    rows: int = 0
    model_name: str = ""
    model_version: str = ""
    code: grpc.StatusCode = grpc.StatusCode.OK
    seconds: float = 0.0
    http_code: int = 0
    error_type: str = ""
    frames: tuple[str, ...] = ()
    trace: TraceContext | None = None
    span: Span | None = None
    stages: list[tuple[str, float, float]] | None = None

    @property
    def name(self) -> str:
        """``service/method``; of http the method and the template of the path."""
        return f"{self.service} {self.method}" if self.kind == HTTP else f"{self.service}/{self.method}"

    def add_stage(self, name: str, start: float, end: float) -> None:
        """Record a stage, if stages are recorded."""
        if self.stages is not None and len(self.stages) < _MAX_STAGES:  # a stream may have any number of requests
            self.stages.append((name, start, end))

    def set_error(self, error: BaseException) -> None:
        """Record an exception that is a fault of ours. Its text is left out: it may hold values of a row."""
        self.error_type = type(error).__name__
        self.frames = frames_of(error.__traceback__)


_CALL: ContextVar[CallRecord | None] = ContextVar("call", default=None)
_CALLER: ContextVar[Caller] = ContextVar("caller", default=NO_TOKEN)


def set_caller(caller: Caller) -> None:
    """Set who makes the call of the current task."""
    _CALLER.set(caller)


def current_caller() -> Caller:
    """Return who makes the call of the current task."""
    return _CALLER.get()


def caller_of(context: grpc.aio.ServicerContext) -> str:
    """Return who makes a call: the name of the token if tokens are required, otherwise the connection."""
    name = _CALLER.get().name
    return str(context.peer()) if name == NO_TOKEN.name else f"token:{name}"


def begin_record(kind: str, service: str, method: str, caller: str = "") -> CallRecord:
    """Start a record. It is the current call of this task and of the threads that it starts work in."""
    record = CallRecord(kind, service, method, caller, _CALLER.get())
    _CALL.set(record)
    return record


def current_call() -> CallRecord:
    """Return the record of the current call. Outside of a call, return a new record that is not used."""
    return _CALL.get() or CallRecord("", "", "")
