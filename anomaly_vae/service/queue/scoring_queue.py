"""The queue between the event loop and the compute threads.

Rows of different requests are computed together. That changes no score: a row's score does not depend on its batch.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Hashable
from typing import Any, Generic, NamedTuple, TypeVar

import grpc

from anomaly_vae.arrays import FloatArray
from anomaly_vae.score_options import ScoreOptions
from anomaly_vae.scores import Flags, Scores, join
from anomaly_vae.service.call_errors import CallError
from anomaly_vae.service.callers import NO_TOKEN, Caller, Priority
from anomaly_vae.service.queue.admission import Admission, Reservation
from anomaly_vae.service.queue.batching_window import BatchingWindow
from anomaly_vae.service.queue.fair_scheduler import FairScheduler
from anomaly_vae.service.queue.jobs import SHADOW, BatchKey, Job, explain_key
from anomaly_vae.service.queue.workers import ComputedBatch, Workers
from anomaly_vae.service.served import ExplainOptions, Explanations, Served
from anomaly_vae.service.telemetry.metrics import Metrics

__all__ = ["Computed", "ScoringQueue"]


# Decoder evaluations of a usual row under the error target, which the first measurement has. Chosen from 150 to 700 on
# ADBench tables; requests with a fixed number of samples are first expected to take this much time a sample.
_USUAL_SAMPLES = 256


Computable = TypeVar("Computable", Scores | Flags, Explanations)


class Computed(NamedTuple, Generic[Computable]):
    """The result of a request's rows. Times are seconds on the clock of ``time.perf_counter``.

    Attributes:
        result: Scores, decisions only, or explanations.
        queued: When the rows were queued.
        begun: When a thread took the first row.
        ended: When the scores of all rows had arrived.
        seconds_computed: The rows' share of the time of their batches.
    """

    result: Computable
    queued: float
    begun: float
    ended: float
    seconds_computed: float


class ScoringQueue:
    """Scores rows off the event loop. All methods belong to the event loop's thread."""

    def __init__(
        self,
        threads: int,
        *,
        limit_rows: int,
        limit_bytes: int,
        metrics: Metrics,
        limit_seconds: float = math.inf,
        nice: int = 0,
        processes: int = 1,
    ) -> None:
        """Start the threads. Needs a running event loop.

        Args:
            threads: Number of threads that compute at a time.
            limit_rows, limit_bytes: The most that may be queued or computed.
            metrics: Where batches, scores and refusals are counted.
            limit_seconds: The most seconds of work that may wait, at the measured speed.
            nice: Added to the nice value of all threads but the one for short requests.
            processes: Among how many processes the limits of each caller are divided.
        """
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._scheduler = FairScheduler()
        self._metrics = metrics
        self._admission = admission = Admission(
            self._scheduler,
            self._lock,
            threads,
            metrics,
            limit_rows=limit_rows,
            limit_bytes=limit_bytes,
            limit_seconds=limit_seconds,
            processes=processes,
        )
        metrics.callers.watch(admission.callers.outstanding)
        metrics.watch_queue(lambda: admission.rows.total, lambda: admission.num_bytes.total, admission.seconds_waiting)
        self._jobs: set[Job] = set()
        self._workers = Workers(
            self._scheduler, self._lock, threads, nice, on_computed=self._deliver, on_expired=self._expire
        )
        # One for each class: batch rows must not hold online rows back.
        self._windows = {priority: BatchingWindow(self._loop, self._workers.add) for priority in Priority}

    def learn(self, served: Served, options: ScoreOptions, num_rows: int, seconds: float) -> None:
        """Set how long one thread takes for rows, from a measurement before the first request."""
        cost, costs = BatchKey(served, options).cost, self._scheduler.costs
        with self._lock:
            if not cost.flag_only:
                costs.expect(served.key, seconds / (num_rows * min(cost.num_samples, _USUAL_SAMPLES)))
            costs.learn(cost, num_rows, seconds)

    def forget(self, model: tuple[str, str]) -> None:
        """Forget how long the rows of a model take, by its name and version."""
        with self._lock:
            self._scheduler.costs.forget(model)

    def reservation(
        self,
        served: Served,
        options: ScoreOptions,
        num_rows: int,
        num_bytes: int,
        caller: Hashable = None,
        identity: Caller = NO_TOKEN,
    ) -> Reservation:
        """Return a reservation for the rows of one request, which takes no room yet.

        Args:
            served: The model.
            options: What to compute.
            num_rows, num_bytes: The size of the rows while they are queued.
            caller: Whose rows they are. Callers of one priority get equal shares of the compute time, each for every
                model that it uses, and callers of all priorities get equal shares of the room.
            identity: What the caller may do.
        """
        return Reservation(self._admission, BatchKey(served, options), num_rows, num_bytes, caller, identity)

    async def submit(
        self, reservation: Reservation, rows: FloatArray, expires: float = math.inf
    ) -> Computed[Scores | Flags]:
        """Compute the rows of a request.

        Args:
            reservation: Their room. If it is not taken yet, wait for it.
            rows: Checked rows, (N, D), as many as reserved.
            expires: When the caller stops waiting, seconds on the clock of ``time.monotonic``.

        Raises:
            CallError: DEADLINE_EXCEEDED if a row was not begun before ``expires``; UNAVAILABLE if the queue is cut.
        """
        if not reservation.is_taken:
            await reservation.wait()
        job, window = self._job(reservation, reservation.key, rows, expires), self._windows[reservation.priority]
        try:
            return await self._computed(job, window.add, join)
        finally:
            window.forget(reservation.num_rows)

    async def explain(
        self,
        reservation: Reservation,
        rows: FloatArray,
        top: int,
        expires: float = math.inf,
        *,
        check: bool = True,
    ) -> Computed[Explanations]:
        """Explain rows of a request that were scored. It is computed in turns with the work of other callers.

        Args:
            reservation: The room of the request, which is taken.
            rows: Those of its checked rows to explain, (n, D), at least one.
            top: Columns of each row.
            expires: As for :meth:`submit`.
            check: Whether the rows are refused if the caller has too much work ahead, or too little time. Not for rows
                that were admitted for this work, nor for those of a stream.

        Raises:
            CallError: As for :meth:`submit`; RESOURCE_EXHAUSTED as for :meth:`Reservation.take`.
        """
        key = explain_key(reservation.key, top)
        if check:
            more = Reservation(self._admission, key, len(rows), 0, reservation.caller, reservation.identity)
            self._admission.check_work(more, expires)
        job = self._job(reservation, key, rows, expires)
        return await self._computed(job, lambda job: self._workers.add([job]), _one_after_another)

    def _job(self, reservation: Reservation, key: BatchKey, rows: FloatArray, expires: float) -> Job:
        now = time.monotonic()
        if expires <= now:
            raise _deadline_exceeded()
        future = self._loop.create_future()
        return Job(key, rows, expires, future, now, reservation.account, reservation.priority)

    async def _computed(
        self, job: Job, add: Callable[[Job], None], join_parts: Callable[[list[Any]], Computable]
    ) -> Computed[Computable]:
        """Queue a job and wait for its result; drop it if nobody waits any more."""
        queued = time.perf_counter()
        self._jobs.add(job)
        try:
            add(job)
            result = join_parts(await job.answer)
            return Computed(result, queued, queued + job.seconds_waited, time.perf_counter(), job.seconds_computed)
        finally:
            if job.num_left:
                self._drop(job)
            self._jobs.discard(job)

    def drain(self) -> None:
        """From now on, compute the shortest requests first, so that most are done in time."""
        for window in self._windows.values():
            window.close()
        with self._lock:
            self._scheduler.drain()

    def cut(self) -> tuple[int, int]:
        """End all unfinished requests with UNAVAILABLE; return how many requests and unscored rows these were."""
        jobs = [job for job in self._jobs if not job.answer.done()]
        for job in jobs:
            text = "the server is shutting down, and its grace is over; send it again"
            job.answer.set_exception(CallError(grpc.StatusCode.UNAVAILABLE, text))
        return len(jobs), sum(job.num_left for job in jobs)

    def close(self) -> None:
        """Wait until the threads have computed the batches that they have begun, and end them."""
        self._workers.close()

    def _drop(self, job: Job) -> None:
        if not self._windows[job.priority].drop(job):
            with self._lock:
                self._scheduler.drop(job)

    def _expire(self, jobs: list[Job]) -> None:
        for job in jobs:
            if not job.answer.done():
                job.answer.set_exception(_deadline_exceeded())

    def _deliver(self, computed: ComputedBatch) -> None:
        """Give each job its part of a batch. A job whose caller has gone gets none."""
        batch, num_rows = computed.batch, computed.batch.num_rows
        done: list[Any] = []
        is_whole = True  # whether the answered jobs have exactly the rows of this batch
        for (job, start, stop, _), outcome in zip(batch.shares, computed.outcomes, strict=True):
            seconds = computed.seconds * (stop - start) / num_rows
            parts = [] if job.answer.done() else job.put(start, stop, outcome, seconds)
            counted = [] if job.caller == (SHADOW, batch.key.served.name) else parts
            is_whole = is_whole and len(counted) == 1
            done += counted
        model = batch.key.served.key
        if isinstance(batch.key.options, ExplainOptions):
            self._metrics.models.count_explained(model, sum(map(len, done)))
            return
        self._metrics.batch_rows.observe_one(num_rows)
        if done:
            answered: Any = computed.whole if computed.whole is not None and is_whole else join(done)
            self._metrics.count_scores(model, answered)


def _one_after_another(parts: list[Explanations]) -> Explanations:
    return [row for part in parts for row in part]


def _deadline_exceeded() -> CallError:
    return CallError(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline passed before the rows were scored")
