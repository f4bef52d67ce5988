"""What all services share: the served model, and the queue of rows to score."""

from __future__ import annotations

import asyncio
import math
import time

import grpc

from anomaly_vae.arrays import FloatArray
from anomaly_vae.score_options import ScoreOptions
from anomaly_vae.scores import Flags, Scores
from anomaly_vae.service.call_errors import CallError
from anomaly_vae.service.loading import Measured
from anomaly_vae.service.queue.admission import Reservation
from anomaly_vae.service.queue.scoring_queue import Computed, ScoringQueue
from anomaly_vae.service.served import Explanations, Served
from anomaly_vae.service.settings import ServeConfig
from anomaly_vae.service.telemetry.metrics import Metrics
from anomaly_vae.service.telemetry.records import current_call

__all__ = ["Scoring", "expiry"]

# Delay before a retry while the model is being loaded, seconds. Chosen, not measured: about as long as loading takes.
_LOADING_RETRY = 0.5

_BYTES_OF_A_CELL = 8  # float64


class Scoring:
    """The served model and its queue.

    Attributes:
        config: The settings.
        metrics: Where everything is counted.
        served: The model; None while it is being loaded.
        drained: Set once new requests are refused.
    """

    def __init__(self, config: ServeConfig, metrics: Metrics, threads: int) -> None:
        """Start without a model. Needs a running event loop."""
        self.config = config
        self.metrics = metrics
        self.served: Served | None = None
        self.drained = asyncio.Event()
        self._queue = ScoringQueue(
            threads,
            limit_rows=config.max_queue_rows,
            limit_bytes=config.queue_bytes,
            limit_seconds=config.max_queue_seconds,
            metrics=metrics,
            nice=config.nice,
        )

    def serve(self, served: Served, measured: list[Measured]) -> None:
        """Serve a model whose speed was measured."""
        for options, num_rows, seconds in measured:
            self._queue.learn(served, options, num_rows, seconds)
        self.served = served

    def model(self) -> Served:
        """Return the model.

        Raises:
            CallError: UNAVAILABLE while the model is being loaded, and once the service drains.
        """
        if self.drained.is_set():
            self.metrics.rejected.labels("draining").inc()
            raise CallError(grpc.StatusCode.UNAVAILABLE, "the server is shutting down; connect again")
        if self.served is None:
            text = "the model is still being loaded; try again soon"
            raise CallError(grpc.StatusCode.UNAVAILABLE, text, retry_after=_LOADING_RETRY)
        return self.served

    def reservation(self, served: Served, options: ScoreOptions, num_rows: int) -> Reservation:
        """Return a reservation for rows of the current call: see :meth:`ScoringQueue.reservation`."""
        num_bytes = _BYTES_OF_A_CELL * num_rows * len(served.scorer.schema.columns)
        return self._queue.reservation(served, options, num_rows, num_bytes, current_call().caller)

    async def score(self, reservation: Reservation, rows: FloatArray, expires: float) -> Computed[Scores | Flags]:
        """Score checked rows (N, D): see :meth:`ScoringQueue.submit`."""
        return await self._queue.submit(reservation, rows, expires)

    async def explain(
        self, reservation: Reservation, rows: FloatArray, top: int, expires: float, *, check: bool
    ) -> Computed[Explanations]:
        """Explain checked rows (n, D) that were scored: see :meth:`ScoringQueue.explain`."""
        return await self._queue.explain(reservation, rows, top, expires, check=check)

    def drain(self) -> None:
        """Refuse new requests, and compute the shortest admitted ones first."""
        self.drained.set()
        self._queue.drain()

    def cut(self) -> tuple[int, int]:
        """End all unfinished requests with UNAVAILABLE; return how many requests and unscored rows these were."""
        return self._queue.cut()

    async def close(self) -> None:
        """Wait until the threads have computed the batches that they have begun, and end them."""
        await asyncio.to_thread(self._queue.close)


def expiry(time_remaining: float | None) -> float:
    """Return when this many seconds have passed, on the clock of ``time.monotonic``; infinite for None."""
    return math.inf if time_remaining is None else time.monotonic() + time_remaining
