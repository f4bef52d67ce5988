"""What is known of a call while it runs, for its line in the log and its span."""

from __future__ import annotations

import traceback
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import grpc

from anomaly_vae.service.tracing import Span, TraceContext

__all__ = ["CallRecord", "begin_record", "caller_of", "current_call", "frames_of", "note_token"]

_MOST_FRAMES = 32
_MOST_STAGES = 64
_PACKAGES = Path(__file__).parents[2]


@dataclass(slots=True, eq=False)
class CallRecord:
    """A call, filled in by whoever learns of it; nothing of its rows but their number.

    Attributes:
        kind: unary, server_stream, client_stream or bidi_stream.
        service, method: As in ``/service/method``.
        caller: Whose call it is, as far as callers share the machine: the name of its token, else its connection.
        request_id: The caller's name for it.
        rows: Rows it asked about.
        model_version: What answered.
        code, seconds: How it ended, and after how long.
        error_type, frames: The exception that is a fault of ours, and where it came from, innermost last.
        trace: Its own place in a trace.
        span: What its tracer gave it.
        stages: Name, begin and end of its parts by ``perf_counter``; None where nobody asks.
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

    def ask(self, request_id: str, num_rows: int) -> None:
        """Note what a request asks; of a stream, the last one's name and the rows of all."""
        self.request_id = request_id
        self.rows += num_rows

    def add_stage(self, name: str, start: float, end: float) -> None:
        """Note a part of it, where somebody asks."""
        if self.stages is not None and len(self.stages) < _MOST_STAGES:  # a stream may have any number of requests
            self.stages.append((name, start, end))

    def blame(self, error: BaseException) -> None:
        """Note a fault of ours: type and place only, since an error's text may hold values of a row."""
        self.error_type = type(error).__name__
        self.frames = frames_of(error.__traceback__)


_CALL: ContextVar[CallRecord | None] = ContextVar("call", default=None)
_TOKEN: ContextVar[str] = ContextVar("token", default="")


def note_token(name: str) -> None:
    """Note by whose token the call that this task works on was allowed."""
    _TOKEN.set(name)


def caller_of(context: grpc.aio.ServicerContext) -> str:
    """Who makes a call: the name of the token, where tokens are asked for, otherwise the connection."""
    name = _TOKEN.get()
    return f"token:{name}" if name else str(context.peer())


def begin_record(kind: str, service: str, method: str, caller: str = "") -> CallRecord:
    """A record for the call that this task, and the threads it asks, work on from now on."""
    record = CallRecord(kind, service, method, caller)
    _CALL.set(record)
    return record


def current_call() -> CallRecord:
    """The record of the call being worked on; outside of any, one that nobody reads."""
    return _CALL.get() or CallRecord("", "", "")


def frames_of(trace: TracebackType | None) -> tuple[str, ...]:
    """``path:line in function`` for each frame, innermost last; of very many, the last ones."""
    return tuple(
        f"{_short(frame.filename)}:{frame.lineno} in {frame.name}"
        for frame in traceback.extract_tb(trace, limit=-_MOST_FRAMES)
    )


def _short(filename: str) -> str:
    path = Path(filename)
    return str(path.relative_to(_PACKAGES)) if path.is_relative_to(_PACKAGES) else filename
