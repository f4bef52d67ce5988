"""Log lines: one a record whatever it holds, as text or JSON; and one a call, as far as that is wanted."""

from __future__ import annotations

import json
import logging
import math
import re
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, TextIO

import grpc
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

from anomaly_vae.service.log_writer import LogWriter
from anomaly_vae.service.records import CallRecord, frames_of

__all__ = ["CallLog", "JsonFormatter", "TextFormatter", "configure", "event", "show_lost_lines"]

_OURS = "anomaly_vae"
_LOG = logging.getLogger("anomaly_vae.service.calls")

_MOST_LETTERS = 8_192
_LINES_PER_SECOND = 50.0
_SECONDS_PER_NOTICE = 1.0

# Whose fault a failed call is, and so how loud: ours, the load's, and otherwise the caller's.
_LEVELS = {
    grpc.StatusCode.INTERNAL: logging.ERROR,
    grpc.StatusCode.UNKNOWN: logging.ERROR,
    grpc.StatusCode.DATA_LOSS: logging.ERROR,
    grpc.StatusCode.UNAVAILABLE: logging.WARNING,
    grpc.StatusCode.DEADLINE_EXCEEDED: logging.WARNING,
    grpc.StatusCode.RESOURCE_EXHAUSTED: logging.WARNING,
}


class TextFormatter(logging.Formatter):
    """``time LEVEL message key=value...``, for people."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; what cannot be printed is escaped."""
        pairs = [f"{name}={_as_text(value)}" for name, value in _details(record, ("request_id", "trace_id")).items()]
        return _printable(" ".join([_timestamp(record), record.levelname, _message(record), *pairs]))


class JsonFormatter(logging.Formatter):
    """One JSON object, for machines: ``timestamp, level, logger, message``, and the fields of the record."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of ASCII."""
        line: dict[str, Any] = {
            "timestamp": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _cut(_message(record)),
        }
        for name, value in _details(record).items():
            line.setdefault(name, _plain(value))
        return json.dumps(line, allow_nan=False, separators=(",", ":"))


def configure(log_format: str, level: str, stream: TextIO | None = None) -> None:
    """Send the log of this process, warnings and threads' faults among it, to standard error.

    Args:
        log_format: text or json.
        level: debug, info, warning or error: the least that the service logs; other libraries only warn.
        stream: Where to instead of standard error.
    """
    stream = stream or sys.stderr
    handler = LogWriter(stream) if stream else logging.NullHandler()  # a process may have no standard error
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    number = logging.getLevelNamesMapping()[level.upper()]
    root = logging.getLogger()
    for former in root.handlers:
        former.flush()
        former.close()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.WARNING))
    logging.getLogger(_OURS).setLevel(number)
    warnings.showwarning = _log_warning
    threading.excepthook = _log_thread_fault
    sys.unraisablehook = _log_unraisable


def show_lost_lines(registry: CollectorRegistry) -> None:
    """Let Prometheus ask how many lines the log of this process has lost: a log that stalls cannot tell itself."""
    registry.register(_LostLines())


class _LostLines(Collector):
    def collect(self) -> Iterator[CounterMetricFamily]:
        lost = sum(handler.lines_lost for handler in logging.getLogger().handlers if isinstance(handler, LogWriter))
        text = "Lines of the log that were not read fast enough, or could not be written."
        yield CounterMetricFamily("anomaly_vae_log_lines_lost", text, value=lost)


def event(name: str, **fields: Any) -> dict[str, Any]:
    """What to log a line with, as ``extra``, so that it says in JSON what happened and with what."""
    return {"fields": {"event": name, **fields}}


class CallLog:
    """One line a call, of those that are wanted; of a flood, some lines and the number of the others."""

    def __init__(self, which: str = "failed", clock: Callable[[], float] = time.monotonic) -> None:
        """Log nothing yet.

        Args:
            which: none, failed or all; faults of ours are always logged.
            clock: Seconds that never go back.
        """
        self._which = which
        self._clock = clock
        self._allowed = _LINES_PER_SECOND
        self._filled = clock()
        self._noticed = -math.inf
        self._left_out = 0

    def wants(self, record: CallRecord) -> bool:
        """Whether such calls are logged; that a stream's reader goes away is how most streams end, no failure."""
        if self._which == "all" or record.error_type:
            return True
        if record.code is grpc.StatusCode.OK or self._which == "none":
            return False
        return record.kind == "unary" or record.code is not grpc.StatusCode.CANCELLED

    def log(self, record: CallRecord) -> None:
        """Log a call that has ended, if it is wanted and not one too many."""
        if not self.wants(record):
            return
        level = logging.ERROR if record.error_type else _LEVELS.get(record.code, logging.INFO)
        if not _LOG.isEnabledFor(level):
            return
        now = self._clock()
        self._allowed = min(self._allowed + _LINES_PER_SECOND * (now - self._filled), _LINES_PER_SECOND)
        self._filled = now
        if self._left_out and now >= self._noticed + _SECONDS_PER_NOTICE:
            self._notice(now)
        if self._allowed >= 1.0:
            self._allowed -= 1.0
            _LOG.log(level, "%s", _sentence(record), extra=event("call", **_fields(record)))
        else:
            self._left_out += 1

    def close(self) -> None:
        """Say how many calls were left out since it was last said."""
        if self._left_out:
            self._notice(self._clock())

    def _notice(self, now: float) -> None:
        extra = event("calls_left_out", calls=self._left_out)
        _LOG.warning("%d calls more were not logged, to keep the log short", self._left_out, extra=extra)
        self._left_out, self._noticed = 0, now


def _sentence(record: CallRecord) -> str:
    fault = f" failed with {record.error_type}," if record.error_type else ""
    rows = f", {record.rows} rows" if record.rows else ""
    return f"{record.service}/{record.method}{fault} {record.code.name} after {1e3 * record.seconds:.1f} ms{rows}"


def _fields(record: CallRecord) -> dict[str, Any]:
    trace = record.trace
    fields = {
        "grpc_type": record.kind,
        "grpc_service": record.service,
        "grpc_method": record.method,
        "grpc_code": record.code.name,
        "seconds": round(record.seconds, 6),
        "rows": record.rows or None,
        "model_version": record.model_version,
        "request_id": record.request_id,
        "trace_id": trace and trace.trace_id,
        "span_id": trace and trace.span_id,
        "parent_span_id": trace and trace.parent_id,
        "error_type": record.error_type,
        "frames": record.frames,
    }
    return {name: value for name, value in fields.items() if value not in (None, "", ())}


def _timestamp(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(record: logging.LogRecord) -> str:
    """The message; of other libraries', only what cannot hold values of a row."""
    try:
        message = record.getMessage()
    except (TypeError, ValueError, KeyError):
        return str(record.msg)
    if record.name == "asyncio":  # goes on with what a callback was called with, or with an error's text
        return re.split(r"[(<\n]", message, maxsplit=1)[0].rstrip()
    return message if record.name.split(".")[0] == _OURS else message.partition("\n")[0]


def _details(record: logging.LogRecord, names: tuple[str, ...] = ()) -> dict[str, Any]:
    """The fields, or those of some names; of an exception always its type and place, but not its text."""
    fields: dict[str, Any] = dict(getattr(record, "fields", None) or {})
    if record.exc_info and record.exc_info[0]:
        fields["error_type"] = record.exc_info[0].__name__
        fields["frames"] = frames_of(record.exc_info[2])
    shown = (*names, "error_type", "frames") if names else tuple(fields)
    return {name: fields[name] for name in shown if name in fields}


def _plain(value: Any) -> Any:
    """What JSON has for a value: it knows no NaN, and readers disagree on halves of surrogate pairs."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, (tuple, list)):
        return [_plain(part) for part in value]
    return _cut(str(value))


def _as_text(value: Any) -> str:
    return " < ".join(map(str, reversed(value))) if isinstance(value, (tuple, list)) else str(value)


def _cut(text: str) -> str:
    text = text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]}..."
    return text.encode(errors="replace").decode()


def _printable(text: str) -> str:
    text = text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]}..."
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _log_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    logging.getLogger("py.warnings").warning("%s: %s", category.__name__, message)


def _log_thread_fault(fault: threading.ExceptHookArgs) -> None:
    _log_fault("a thread failed", fault.exc_value)


def _log_unraisable(fault: Any) -> None:
    _log_fault("an error could not be raised", fault.exc_value)


def _log_fault(what: str, error: BaseException | None) -> None:
    log = logging.getLogger("anomaly_vae.service")
    log.error("%s with %s", what, type(error).__name__, exc_info=error, extra=event("fault"))
