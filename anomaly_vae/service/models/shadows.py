"""Scores rows with a second version after the first has answered, and compares the two. Nobody waits for it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from anomaly_vae.arrays import FloatArray
from anomaly_vae.scores import Flags, Scores
from anomaly_vae.service.call_errors import CallError
from anomaly_vae.service.callers import Caller, Priority
from anomaly_vae.service.queue.jobs import SHADOW
from anomaly_vae.service.queue.scoring_queue import ScoringQueue
from anomaly_vae.service.served import Served
from anomaly_vae.service.telemetry.change_metrics import ShadowMetrics
from anomaly_vae.service.telemetry.logs import event

__all__ = ["Shadows"]

_LOG = logging.getLogger("anomaly_vae.service")

# Rows that may wait for a shadow, and seconds that they may wait; others are dropped. Chosen, not measured: shadows
# must not take the memory that requests need.
_MOST_ROWS, _MOST_SECONDS = 16_384, 30.0
# Rows of a request above which reading them again would block the event loop for too long. Chosen, not measured.
_FEW_ROWS = 64
_BYTES_OF_A_CELL = 8  # float64

# Shadows go after the rows that somebody waits for.
_LAST = Caller(f"({SHADOW})", priority=Priority.BATCH)  # no token has this name


class Shadows:
    """Rows on their way to shadows. All methods belong to the event loop's thread."""

    def __init__(self, queue: ScoringQueue, metrics: ShadowMetrics) -> None:
        """Start without rows."""
        self._queue, self._metrics = queue, metrics
        self._tasks: set[asyncio.Task[None]] = set()
        self._num_rows = 0
        self._failed: set[tuple[str, str]] = set()

    def add(self, shadow: Served, answer: Scores | Flags, make_rows: Callable[[Served], FloatArray]) -> None:
        """Score the rows of a request with another version as well.

        Args:
            shadow: The version.
            answer: What the request was answered. Without flags there is nothing to compare.
            make_rows: Returns the rows of the request, (N, D), as a version reads them; it may raise CallError.
        """
        if answer.is_anomaly is None:
            return
        if self._num_rows + len(answer) > _MOST_ROWS:
            self._metrics.drop(shadow.key, len(answer))
            return
        self._num_rows += len(answer)
        task = asyncio.create_task(self._score(shadow, answer, make_rows))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Drop what is left."""
        for task in self._tasks:
            task.cancel()

    async def _score(self, shadow: Served, answer: Scores | Flags, make_rows: Callable[[Served], FloatArray]) -> None:
        num_rows, expires = len(answer), time.monotonic() + _MOST_SECONDS
        options = shadow.options(flag_only=isinstance(answer, Flags))
        num_bytes = _BYTES_OF_A_CELL * num_rows * len(shadow.scorer.schema.columns)
        try:
            with self._queue.reservation(shadow, options, num_rows, num_bytes, SHADOW, _LAST) as reservation:
                reservation.take(expires)
                few = num_rows <= _FEW_ROWS
                rows = make_rows(shadow) if few else await asyncio.to_thread(make_rows, shadow)
                computed = await self._queue.submit(reservation, rows, expires)
            self._metrics.compare(shadow.key, answer, computed.result)
        except Exception as error:  # noqa: BLE001 (nobody waits for this task: it must say so itself)
            self._metrics.drop(shadow.key, num_rows)
            if not isinstance(error, CallError):
                _LOG.error("the shadow failed with %s", type(error).__name__, exc_info=error, extra=event("fault"))
            elif error.field is not None:
                self._say_once(shadow, error)
        finally:
            self._num_rows -= num_rows

    def _say_once(self, shadow: Served, error: CallError) -> None:
        """Log that a shadow cannot read the rows of requests, once: most requests have the same columns."""
        if shadow.key not in self._failed:
            self._failed.add(shadow.key)
            text = "the shadow %s version %s cannot read the rows of a request: %s"
            _LOG.warning(text, *shadow.key, error.message, extra=event("shadow_unreadable"))
