"""Log records as one line of text or JSON. Neither holds values of rows."""

from __future__ import annotations

import json
import logging
import math
import re
from datetime import UTC, datetime
from typing import Any

from anomaly_vae.service.telemetry.frames import frames_of

__all__ = ["JsonFormatter", "TextFormatter"]

_OURS = "anomaly_vae"
_MAX_LENGTH = 8_192  # characters of a text; chosen, not measured: it bounds the size of the log


class _Formatter(logging.Formatter):
    """Adds the number of the worker to the fields of every line, if this process is one of several workers."""

    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self._own: dict[str, Any] = {} if worker is None else {"worker": worker}


class TextFormatter(_Formatter):
    """``time LEVEL message key=value...``, for people."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line. Characters that cannot be printed are escaped."""
        details = self._own | _details(record, ("request_id", "trace_id"))
        pairs = [f"{name}={_as_text(value)}" for name, value in details.items()]
        return _printable(" ".join([_timestamp(record), record.levelname, _message(record), *pairs]))


class JsonFormatter(_Formatter):
    """One JSON object with ``timestamp, level, logger, message`` and the fields of the record, for machines."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line of ASCII."""
        line: dict[str, Any] = {
            "timestamp": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _cut(_message(record)),
        }
        for name, value in (_details(record) | self._own).items():
            line.setdefault(name, _plain(value))
        return json.dumps(line, allow_nan=False, separators=(",", ":"))


def _timestamp(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(record: logging.LogRecord) -> str:
    """Return the message. Of other libraries' messages, return only the part that cannot hold values of rows."""
    try:
        message = record.getMessage()
    except (TypeError, ValueError, KeyError):
        return str(record.msg)
    if record.name == "asyncio":  # continues with the arguments of a callback, or with the text of an error
        return re.split(r"[(<\n]", message, maxsplit=1)[0].rstrip()
    return message if record.name.split(".")[0] == _OURS else message.partition("\n")[0]


def _details(record: logging.LogRecord, names: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return all fields, or those with the given names. Of an exception, add its type and place but not its text."""
    fields: dict[str, Any] = dict(getattr(record, "fields", None) or {})
    if record.exc_info and record.exc_info[0]:
        fields["error_type"] = record.exc_info[0].__name__
        fields["frames"] = frames_of(record.exc_info[2])
    shown = (*names, "error_type", "frames") if names else tuple(fields)
    return {name: fields[name] for name in shown if name in fields}


def _plain(value: Any) -> Any:
    """Convert a value for JSON, which has no NaN or infinity. Replace lone surrogates, which break some readers."""
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
    text = text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}..."
    return text.encode(errors="replace").decode()


def _printable(text: str) -> str:
    text = text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}..."
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
