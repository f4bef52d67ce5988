"""From the event loop to the computing threads and back: admitted by rows, bytes and seconds, batched across requests.

As many threads as may compute run networks at a time. Spare ones take full batches only, so that the networks go on
while a batch is made ready or summed up. One more takes short requests only, and goes first at every network: a row
that comes while all threads are busy shares the machine with their batches, rather than wait for their end. What a row
scores does not depend on its batch, and every reply is cut out of its batch by the rows' own places.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import Hashable

import grpc

from anomaly_vae.densities import FloatArray
from anomaly_vae.runtime import go_first
from anomaly_vae.scores import Flags, Scores, join
from anomaly_vae.service.admission import Admission
from anomaly_vae.service.faults import Fault
from anomaly_vae.service.gathering import Gathering
from anomaly_vae.service.jobs import Batch, Job, Outcome
from anomaly_vae.service.metrics import Metrics
from anomaly_vae.service.priority import give_way
from anomaly_vae.service.records import current_call
from anomaly_vae.service.served import Work
from anomaly_vae.service.turns import Turns, Wanted

__all__ = ["ScoringQueue"]


class ScoringQueue:
    """Scores rows off the event loop.

    All methods belong to the event loop's thread.
    """

    def __init__(
        self,
        threads: int,
        *,
        limit_rows: int,
        limit_bytes: int,
        metrics: Metrics,
        limit_seconds: float = math.inf,
        nice: int = 0,
    ) -> None:
        """Start the threads; nothing is queued. Needs a running event loop.

        Args:
            threads: How many compute at a time.
            limit_rows, limit_bytes: The most that may wait.
            metrics: Where batches and scores are counted.
            limit_seconds: The most seconds of work that may wait, by the pace of this machine.
            nice: By how much the threads let others go first, but for the one that takes short requests.
        """
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._turns = Turns()
        self._admission = admission = Admission(
            self._turns, self._lock, threads, rows=limit_rows, num_bytes=limit_bytes, seconds=limit_seconds
        )
        self._metrics = metrics
        metrics.watch_queue(lambda: admission.rows.total, lambda: admission.num_bytes.total, admission.seconds_waiting)
        self._room = asyncio.Event()
        self._jobs: set[Job] = set()
        self._gathering = Gathering(self._loop, self._start)
        self._signals = {wanted: threading.Condition(self._lock) for wanted in Wanted}
        self._idle = self._busy = 0
        self._closed = False
        self._side_by_side, self._nice = threads, nice
        roles = [Wanted.ANY] * threads + [Wanted.FULL] * -(-threads // 2) + [Wanted.SHORT]
        self._threads = [
            threading.Thread(target=self._work, args=(wanted,), name=f"score-{i}", daemon=True)
            for i, wanted in enumerate(roles)
        ]
        for thread in self._threads:
            thread.start()

    def learn(self, work: Work, num_rows: int, seconds: float) -> None:
        """Learn how long one thread takes for a batch, before there are requests."""
        with self._lock:
            if not work.flag_only:
                self._turns.pace.expect(seconds / (num_rows * work.num_samples))
            self._turns.pace.learn(work, num_rows, seconds)

    def check_room(
        self, work: Work, num_rows: int, num_bytes: int, expires: float = math.inf, caller: Hashable = None
    ) -> None:
        """Refuse rows, before anything is made of them, if too many wait.

        Args:
            work: What is asked.
            num_rows: For how many rows.
            num_bytes: What they take while they wait.
            expires: When the caller stops waiting, seconds on the clock of ``time.monotonic``.
            caller: Who asks.

        Raises:
            Fault: RESOURCE_EXHAUSTED, with the time after which to come back.
        """
        try:
            self._admission.check(caller, work, num_rows, num_bytes, expires)
        except Fault:
            self._metrics.rejected.labels("queue_full").inc()
            raise

    async def wait_for_room(self, work: Work, num_rows: int, num_bytes: int, caller: Hashable = None) -> None:
        """Wait until the rows would be admitted, which must be no more than one request may have."""
        while self._admission.refusal(caller, work, num_rows, num_bytes):
            self._room.clear()
            await self._room.wait()

    async def submit(
        self,
        work: Work,
        rows: FloatArray,
        expires: float = math.inf,
        *,
        patient: bool = False,
        caller: Hashable = None,
    ) -> Scores | Flags:
        """Compute the work for checked rows (N, D).

        Args:
            work: What to do.
            rows: All rows of a request.
            expires: When the caller stops waiting, seconds on the clock of ``time.monotonic``.
            patient: Whether to wait for room rather than be refused.
            caller: Who asks: callers share the machine, and the room to wait in, evenly.

        Raises:
            Fault: RESOURCE_EXHAUSTED at once if too many rows wait, or the time is too short for those before it;
                DEADLINE_EXCEEDED when the time is up before its turn; UNAVAILABLE if the queue is cut off before.
        """
        if patient:
            await self.wait_for_room(work, len(rows), rows.nbytes, caller)
        now, queued = time.monotonic(), time.perf_counter()
        if expires <= now:
            raise _late()
        if not patient:
            self.check_room(work, len(rows), rows.nbytes, expires, caller)
        job = Job(work, rows, expires, self._loop.create_future(), now, caller)
        num_rows, num_bytes = len(rows), rows.nbytes
        self._jobs.add(job)
        self._admission.take(caller, num_rows, num_bytes)
        try:
            self._gathering.add(job)
            parts: list[Scores | Flags] = await job.answer
            current_call().add_stage("queue", queued, queued + job.waited)
            begun, answered = queued + job.waited, time.perf_counter()
            current_call().add_stage("infer", begun, answered)
            self._metrics.requests.computing.observe_one(answered - begun)
            return join(parts)
        finally:
            if job.left:
                self._drop(job)
            self._jobs.discard(job)
            self._gathering.forget(num_rows)
            self._admission.give_back(caller, num_rows, num_bytes)
            self._room.set()

    def drain(self) -> None:
        """From now on compute the shortest requests first, so that as many as possible are done in time."""
        self._gathering.release()
        with self._lock:
            self._turns.drain()

    def cut(self) -> tuple[int, int]:
        """Fail what is not done yet with UNAVAILABLE; how many requests that were, and how many rows."""
        jobs = [job for job in self._jobs if not job.answer.done()]
        for job in jobs:
            text = "the server is shutting down, and its grace is over; send it again"
            job.answer.set_exception(Fault(grpc.StatusCode.UNAVAILABLE, text))
        return len(jobs), sum(job.left for job in jobs)

    def close(self) -> None:
        """Drop what has not begun and wait for what has."""
        with self._lock:
            self._closed = True
            for signal in self._signals.values():
                signal.notify_all()
        for thread in self._threads:
            thread.join()

    def _start(self, jobs: list[Job]) -> None:
        """Let the threads have jobs."""
        with self._lock:
            for job in jobs:
                self._turns.add(job)
                self._signals[Wanted.ANY].notify()
                if self._turns.is_plenty(job.work):
                    self._signals[Wanted.FULL].notify()
            if jobs and not self._idle and self._turns.is_short:
                self._signals[Wanted.SHORT].notify()

    def _drop(self, job: Job) -> None:
        if not self._gathering.drop(job):
            with self._lock:
                self._turns.drop(job)

    def _work(self, wanted: Wanted) -> None:
        """What a thread does until the queue is closed."""
        if wanted is Wanted.SHORT:
            go_first()
        else:
            give_way(self._nice)
        while True:
            batch, late = self._next_batch(wanted)
            if late:
                self._tell(self._expire, late)
            if batch is None:
                if self._closed:
                    return
                continue
            start, processor, beside = time.perf_counter(), time.thread_time(), self._busy
            whole, outcomes = batch.compute()
            seconds = time.perf_counter() - start
            with self._lock:
                # With more threads busy than networks may run, part of the time was spent in waiting.
                alone = min(2 * self._side_by_side / (beside + self._busy), 1.0)
                self._turns.settle(batch, time.thread_time() - processor)
                self._turns.pace.learn(batch.work, batch.num_rows, alone * seconds)
                self._busy -= 1
            self._tell(self._deliver, batch, whole, outcomes, seconds)

    def _next_batch(self, wanted: Wanted) -> tuple[Batch | None, list[Job]]:
        first = wanted is Wanted.ANY
        with self._lock:
            self._idle += first
            try:
                while not self._closed:
                    batch, late = self._turns.take(time.monotonic(), max(self._idle, 1), wanted)
                    if batch and not self._turns.is_empty:  # announced once, a request may be work for several
                        self._signals[Wanted.ANY].notify()
                        if self._turns.is_short:  # it was not, perhaps, before these rows were taken
                            self._signals[Wanted.SHORT].notify()
                    self._busy += batch is not None
                    if batch or late:
                        return batch, late
                    self._signals[wanted].wait()
                return None, []
            finally:
                self._idle -= first

    def _tell(self, function: object, *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(function, *arguments)  # type: ignore[arg-type]

    def _expire(self, jobs: list[Job]) -> None:
        for job in jobs:
            if not job.answer.done():
                job.answer.set_exception(_late())

    def _deliver(self, batch: Batch, whole: Scores | Flags | None, outcomes: list[Outcome], seconds: float) -> None:
        """Give every job its own; a job whose caller has gone gets nothing, and does not hold up the others."""
        num_rows = batch.num_rows
        self._metrics.batch_rows.observe_one(num_rows)
        done: list[Scores | Flags] = []
        entire = True  # whether all of the batch, and nothing but it, is answered now
        for (job, start, stop, _), outcome in zip(batch.shares, outcomes, strict=True):
            parts = [] if job.answer.done() else job.put(start, stop, outcome, seconds * (stop - start) / num_rows)
            entire = entire and len(parts) == 1
            if parts:
                done += parts
                self._metrics.stage("queue").observe_one(job.waited)
                self._metrics.stage("infer").observe_one(job.computing)
        if done:
            answered = whole if whole is not None and entire else join(done)
            self._metrics.count_scores(batch.work.served.version, answered)


def _late() -> Fault:
    return Fault(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline passed before the rows were scored")
