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
from anomaly_vae.service.models.catalogue import Catalogue
from anomaly_vae.service.models.repository import Change
from anomaly_vae.service.models.shadows import Shadows
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
        catalogue: The loaded models; empty while they are being loaded.
        shadows: Scores rows with further versions as well.
        drained: Set once new requests are refused.
    """

    def __init__(self, config: ServeConfig, metrics: Metrics, threads: int) -> None:
        """Start without a model. Needs a running event loop."""
        self.config = config
        self.metrics = metrics
        self.catalogue = Catalogue()
        self.drained = asyncio.Event()
        self._queue = ScoringQueue(
            threads,
            limit_rows=config.max_queue_rows,
            limit_bytes=config.queue_bytes,
            limit_seconds=config.max_queue_seconds,
            metrics=metrics,
            nice=config.nice,
            processes=config.workers,
        )
        self.shadows = Shadows(self._queue, metrics.shadows)

    def serve(self, change: Change) -> None:
        """Serve other models from now on; the speed of new ones was measured. Admitted requests keep theirs."""
        shadows = {(name, v.shadow.version) for name, v in change.catalogue.models.items() if v.shadow is not None}
        self.metrics.shadows.keep(shadows)
        for key in {served.key for served in self.catalogue} - {served.key for served in change.catalogue}:
            self.metrics.models.remove(key)
            self._queue.forget(key)
        for served, measured in change.measured:
            self.metrics.models.add(served.key, served.scorer)
            self._queue.forget(served.key)
            for options, num_rows, seconds in measured:
                self._queue.learn(served, options, num_rows, seconds)
        self.catalogue = change.catalogue

    @property
    def is_ready(self) -> bool:
        """Whether rows would be scored now. Unlike :meth:`check_serving` this counts no refusal."""
        return bool(self.catalogue) and not self.drained.is_set()

    def check_serving(self) -> None:
        """Check that rows can be scored.

        Raises:
            CallError: UNAVAILABLE while no model is loaded, and once the service drains.
        """
        if self.drained.is_set():
            self.metrics.reject("draining")
            raise CallError(grpc.StatusCode.UNAVAILABLE, "the server is shutting down; connect again")
        if not self.catalogue:
            text = "the model is still being loaded; try again soon"
            raise CallError(grpc.StatusCode.UNAVAILABLE, text, retry_after=_LOADING_RETRY)

    def model(self, name: str = "", version: str = "", request_id: str = "", prefix: str = "model_") -> Served:
        """Return the model that answers a request of the current call.

        Args:
            name, version: What the request asks for; empty for the only model, and for its default version.
            request_id: Requests with the same id get the same version; without one, those of the same caller do.
            prefix: Of the request's fields "name" and "version".

        Raises:
            CallError: UNAVAILABLE as for :meth:`check_serving`; NOT_FOUND for an unknown model or version.
        """
        self.check_serving()
        return self.catalogue.pick(name, version, request_id or current_call().caller, prefix)

    def shadow_of(self, served: Served, request_id: str) -> Served | None:
        """Return the version that scores the rows of a request of the current call as well; None for most."""
        versions = self.catalogue.models.get(served.name)
        if versions is None or versions.shadow is None or self.drained.is_set():
            return None
        return versions.shadow_of(served, request_id or current_call().caller)

    def reservation(self, served: Served, options: ScoreOptions, num_rows: int) -> Reservation:
        """Return a reservation for rows of the current call: see :meth:`ScoringQueue.reservation`."""
        num_bytes = _BYTES_OF_A_CELL * num_rows * len(served.scorer.schema.columns)
        call = current_call()
        return self._queue.reservation(served, options, num_rows, num_bytes, call.caller, call.identity)

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
        self.shadows.close()
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
