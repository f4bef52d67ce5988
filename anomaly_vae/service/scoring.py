"""What the services have in common: the model that is served, admission, and the way through the queue."""

from __future__ import annotations

import asyncio
import math
import time

import grpc

from anomaly_vae.densities import FloatArray
from anomaly_vae.scores import Flags, Scores
from anomaly_vae.service.config import ServeConfig
from anomaly_vae.service.faults import Fault
from anomaly_vae.service.loading import Measured
from anomaly_vae.service.metrics import Metrics
from anomaly_vae.service.queueing import ScoringQueue
from anomaly_vae.service.records import current_call
from anomaly_vae.service.served import Served, Work

__all__ = ["LARGE_MESSAGE", "Scoring", "expiry"]

# Above this many bytes, reading a request or writing a reply would hold up the event loop.
LARGE_MESSAGE = 2**18


class Scoring:
    """Scores the rows of whatever service they come by.

    Attributes:
        served: The model; None while it is loading.
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
        """Serve a model whose pace is known."""
        for work, num_rows, seconds in measured:
            self._queue.learn(work, num_rows, seconds)
        self.served = served

    def model(self) -> Served:
        """The model.

        Raises:
            Fault: UNAVAILABLE while it is loading, and once the service drains.
        """
        if self.drained.is_set():
            self.metrics.rejected.labels("draining").inc()
            raise Fault(grpc.StatusCode.UNAVAILABLE, "the server is shutting down; connect again")
        if self.served is None:
            raise Fault(grpc.StatusCode.UNAVAILABLE, "the model is still being loaded; try again soon", retry_after=0.5)
        return self.served

    def check_model(self, served: Served, name: str, version: str) -> None:
        """Raise NOT_FOUND if another name or version than the served one is asked for."""
        for field, asked, here in (("model_name", name, served.name), ("model_version", version, served.version)):
            if asked not in ("", here):
                raise Fault(
                    grpc.StatusCode.NOT_FOUND,
                    f"{asked[:100]!r} is not served here, {here!r} is; leave it empty for whatever is served",
                    field=field,
                )

    def check_room(self, work: Work, num_rows: int, expires: float) -> None:
        """Refuse rows before they are made, if too many wait: see :meth:`ScoringQueue.check_room`."""
        self._queue.check_room(work, num_rows, _num_bytes(work, num_rows), expires, current_call().caller)

    async def score(self, work: Work, rows: FloatArray, expires: float, *, patient: bool = False) -> Scores | Flags:
        """What the work gives for checked rows (N, D): see :meth:`ScoringQueue.submit`."""
        return await self._queue.submit(work, rows, expires, patient=patient, caller=current_call().caller)

    def drain(self) -> None:
        """Refuse new requests, and compute the admitted ones in the order in which most are done in time."""
        self.drained.set()
        self._queue.drain()

    def cut(self) -> tuple[int, int]:
        """Fail the requests that are not done yet with UNAVAILABLE; their number, and that of their rows."""
        return self._queue.cut()

    async def close(self) -> None:
        """Let the threads finish what they have begun."""
        await asyncio.to_thread(self._queue.close)


def expiry(time_remaining: float | None) -> float:
    """When so many seconds have passed, on the clock of ``time.monotonic``; None for never."""
    return math.inf if time_remaining is None else time.monotonic() + time_remaining


def _num_bytes(work: Work, num_rows: int) -> int:
    return 8 * num_rows * len(work.served.scorer.schema.columns)
