"""The log of calls: one line per call of the wanted kind, at most 50 lines per second."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import Any

import grpc

from anomaly_vae.service.callers import NO_TOKEN
from anomaly_vae.service.telemetry.logs import event
from anomaly_vae.service.telemetry.records import HTTP, CallRecord

__all__ = ["CallLog"]

_LOG = logging.getLogger("anomaly_vae.service.calls")

# Chosen, not measured: enough lines to find a fault, few enough that a flood of calls does not fill a disk.
_LINES_PER_SECOND = 50.0
_SECONDS_PER_NOTICE = 1.0

# ERROR for our faults, WARNING for overload, INFO for mistakes of the caller, which are all other codes.
_LEVELS = {
    grpc.StatusCode.INTERNAL: logging.ERROR,
    grpc.StatusCode.UNKNOWN: logging.ERROR,
    grpc.StatusCode.DATA_LOSS: logging.ERROR,
    grpc.StatusCode.UNAVAILABLE: logging.WARNING,
    grpc.StatusCode.DEADLINE_EXCEEDED: logging.WARNING,
    grpc.StatusCode.RESOURCE_EXHAUSTED: logging.WARNING,
}


class CallLog:
    """Logs calls that have ended. Above the rate limit (a token bucket) it logs how many calls it left out."""

    def __init__(self, which: str = "failed", clock: Callable[[], float] = time.monotonic) -> None:
        """Log nothing yet.

        Args:
            which: Which calls to log: none, failed or all. Calls with a fault of ours are always logged.
            clock: Seconds that never go back.
        """
        self._which = which
        self._clock = clock
        self._allowance = _LINES_PER_SECOND
        self._refilled_at = clock()
        self._noticed_at = -math.inf
        self._left_out = 0

    def wants(self, record: CallRecord) -> bool:
        """Return whether a call is of a kind that is logged.

        A cancelled stream counts as a success: clients usually end streams by cancelling them.
        """
        if self._which == "all" or record.error_type:
            return True
        if record.code is grpc.StatusCode.OK or self._which == "none":
            return False
        return not record.kind.endswith("stream") or record.code is not grpc.StatusCode.CANCELLED

    def log(self, record: CallRecord) -> None:
        """Log a call that has ended, if it is of a wanted kind and within the rate limit."""
        if not self.wants(record):
            return
        level = logging.ERROR if record.error_type else _LEVELS.get(record.code, logging.INFO)
        if not _LOG.isEnabledFor(level):
            return
        now = self._clock()
        refilled = self._allowance + _LINES_PER_SECOND * (now - self._refilled_at)
        self._allowance, self._refilled_at = min(refilled, _LINES_PER_SECOND), now
        if self._left_out and now >= self._noticed_at + _SECONDS_PER_NOTICE:
            self._notice(now)
        if self._allowance >= 1.0:
            self._allowance -= 1.0
            _LOG.log(level, "%s", _sentence(record), extra=event("call", **_fields(record)))
        else:
            self._left_out += 1

    def close(self) -> None:
        """Log how many calls were left out since the last notice."""
        if self._left_out:
            self._notice(self._clock())

    def _notice(self, now: float) -> None:
        extra = event("calls_left_out", calls=self._left_out)
        _LOG.warning("%d more calls were not logged, to keep the log short", self._left_out, extra=extra)
        self._left_out, self._noticed_at = 0, now


def _sentence(record: CallRecord) -> str:
    fault = f" failed with {record.error_type}," if record.error_type else ""
    rows = f", {record.rows} rows" if record.rows else ""
    status = record.http_code if record.kind == HTTP else record.code.name
    return f"{record.name}{fault} {status} after {1e3 * record.seconds:.1f} ms{rows}"


def _fields(record: CallRecord) -> dict[str, Any]:
    trace = record.trace
    if record.kind == HTTP:
        kind: dict[str, Any] = {
            "http_method": record.service,
            "http_route": record.method,
            "http_code": record.http_code,
        }
    else:
        kind = {"grpc_type": record.kind, "grpc_service": record.service, "grpc_method": record.method}
        kind["grpc_code"] = record.code.name
    fields = {
        **kind,
        "caller": "" if record.identity.name == NO_TOKEN.name else record.identity.name,
        "seconds": round(record.seconds, 6),
        "rows": record.rows or None,
        "model_name": record.model_name,
        "model_version": record.model_version,
        "request_id": record.request_id,
        "trace_id": trace and trace.trace_id,
        "span_id": trace and trace.span_id,
        "parent_span_id": trace and trace.parent_id,
        "error_type": record.error_type,
        "frames": record.frames,
    }
    return {name: value for name, value in fields.items() if value not in (None, "", ())}
