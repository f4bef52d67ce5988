"""Configures the log of the process."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any, TextIO

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

from anomaly_vae.service.telemetry.formatters import JsonFormatter, TextFormatter
from anomaly_vae.service.telemetry.log_writer import LogWriter

__all__ = ["configure", "event", "show_lost_lines"]


def configure(
    log_format: str, level: str, stream: TextIO | None = None, *, worker: int | None = None, lock: int | None = None
) -> None:
    """Write the log of this process to standard error, with warnings and with exceptions of threads.

    Args:
        log_format: text or json.
        level: debug, info, warning or error: the lowest level of this package. Other libraries log warnings and errors.
        stream: The destination, if not standard error.
        worker: Number of this process among several workers; a field of every line.
        lock: Descriptor of a file that the processes that share the destination lock while they write.
    """
    stream = stream or sys.stderr
    # sys.stderr is None if the process has none.
    handler = LogWriter(stream, lock=lock) if stream else logging.NullHandler()
    handler.setFormatter(JsonFormatter(worker) if log_format == "json" else TextFormatter(worker))
    number = logging.getLevelNamesMapping()[level.upper()]
    root = logging.getLogger()
    for former in root.handlers:
        former.flush()
        former.close()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.WARNING))
    logging.getLogger("anomaly_vae").setLevel(number)
    warnings.showwarning = _log_warning
    threading.excepthook = _log_thread_fault
    sys.unraisablehook = _log_unraisable


def event(name: str, **fields: Any) -> dict[str, Any]:
    """Return the ``extra`` of a log call: the name of the event and its fields, which JSON lines show."""
    return {"fields": {"event": name, **fields}}


def show_lost_lines(registry: CollectorRegistry) -> None:
    """Add the number of lost log lines to the metrics: the log itself cannot say so while it is blocked."""
    registry.register(_LostLines())


class _LostLines(Collector):
    def collect(self) -> Iterator[CounterMetricFamily]:
        lost = sum(handler.lines_lost for handler in logging.getLogger().handlers if isinstance(handler, LogWriter))
        text = "Lines of the log that were read too slowly, or could not be written."
        yield CounterMetricFamily("anomaly_vae_log_lines_lost", text, value=lost)


def _log_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    logging.getLogger("py.warnings").warning("%s: %s", category.__name__, message)


def _log_thread_fault(fault: threading.ExceptHookArgs) -> None:
    _log_fault("a thread failed", fault.exc_value)


def _log_unraisable(fault: Any) -> None:
    _log_fault("an error could not be raised", fault.exc_value)


def _log_fault(what: str, error: BaseException | None) -> None:
    log = logging.getLogger("anomaly_vae.service")
    log.error("%s with %s", what, type(error).__name__, exc_info=error, extra=event("fault"))
