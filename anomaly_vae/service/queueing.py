"""From the event loop to the computing threads and back: admitted by rows and bytes, batched across requests.

A request that comes alone is computed at once. Where many come, each by itself would cost the time that the others need
to get here: so a few are gathered, as long as more keep coming, for some milliseconds at most. As many threads as may
compute run networks at a time; spare ones take full batches only, so that the networks go on while a batch is made
ready or summed up. What a row scores does not depend on its batch, and every reply is cut out of its batch by the rows'
own places.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time

import grpc

from anomaly_vae.densities import FloatArray
from anomaly_vae.scores import Flags, Scores, join
from anomaly_vae.service.faults import Fault
from anomaly_vae.service.metrics import Metrics
from anomaly_vae.service.priority import give_way
from anomaly_vae.service.records import current_call
from anomaly_vae.service.served import Work
from anomaly_vae.service.turns import Batch, Job, Outcome, Turns

__all__ = ["ScoringQueue"]

_SHORTEST_RETRY, _LONGEST_RETRY = 0.05, 30.0

# Requests are gathered for so many seconds at most, or until none has come for some time, or there are so many, or they
# have so many rows: then there is nothing more to be gained. Not where fewer than so many are under way on average.
_GATHERING = 0.012
_QUIET = 0.0007
_ENOUGH = 32
_MANY_ROWS = 64
_ALONE = 1.5
_SMOOTHING = 0.1


class ScoringQueue:
    """Scores rows off the event loop.

    All methods belong to the event loop's thread.
    """

    def __init__(self, threads: int, *, limit_rows: int, limit_bytes: int, metrics: Metrics, nice: int = 0) -> None:
        """Start the threads, so nice to others; nothing is queued. Needs a running event loop."""
        self._limit_rows, self._limit_bytes = limit_rows, limit_bytes
        self._metrics = metrics
        self._rows = self._bytes = 0
        metrics.watch_queue(lambda: self._rows, lambda: self._bytes)
        self._room = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._turns = Turns()
        self._gathered: list[Job] = []
        self._gathered_rows = 0
        self._looking: asyncio.TimerHandle | None = None
        self._under_way, self._usual = 0, 1.0
        self._lock = threading.Lock()
        self._changed, self._plenty = threading.Condition(self._lock), threading.Condition(self._lock)
        self._idle = self._busy = 0
        self._closed = False
        self._side_by_side, self._nice = threads, nice
        spare = -(-threads // 2)
        self._threads = [
            threading.Thread(target=self._work, args=(i >= threads,), name=f"score-{i}", daemon=True)
            for i in range(threads + spare)
        ]
        for thread in self._threads:
            thread.start()

    def check_room(self, work: Work, num_rows: int, num_bytes: int, expires: float = math.inf) -> None:
        """Refuse rows, before anything is made of them, if too many wait.

        Args:
            work: What is asked.
            num_rows: For how many rows.
            num_bytes: What they take while they wait.
            expires: When nobody waits any more, seconds on the clock of ``time.monotonic``.

        Raises:
            Fault: RESOURCE_EXHAUSTED, with the time after which to come back.
        """
        text = self._refusal(num_rows, num_bytes)
        if text is None and expires < math.inf:
            text = self._too_late(work, num_rows, expires)
        if text is not None:
            self._metrics.rejected.labels("queue_full").inc()
            raise Fault(grpc.StatusCode.RESOURCE_EXHAUSTED, text, retry_after=self._retry_after())

    async def wait_for_room(self, num_rows: int, num_bytes: int) -> None:
        """Wait until so many rows would be admitted, which must be no more than one request may have."""
        while self._refusal(num_rows, num_bytes):
            self._room.clear()
            await self._room.wait()

    async def submit(
        self, work: Work, rows: FloatArray, expires: float = math.inf, *, patient: bool = False
    ) -> Scores | Flags:
        """Compute the work for checked rows (N, D).

        Args:
            work: What to do.
            rows: All rows of a request.
            expires: When nobody waits any more, seconds on the clock of ``time.monotonic``.
            patient: Whether to wait for room rather than be refused.

        Raises:
            Fault: RESOURCE_EXHAUSTED at once if too many rows wait, or the time is too short for those before it;
                DEADLINE_EXCEEDED when the time is up before its turn.
        """
        if patient:
            await self.wait_for_room(len(rows), rows.nbytes)
        now, queued = time.monotonic(), time.perf_counter()
        if expires <= now:
            raise _late()
        if not patient:
            self.check_room(work, len(rows), rows.nbytes, expires)
        job = Job(work, rows, expires, self._loop.create_future(), now)
        self._admit(len(rows), rows.nbytes)
        try:
            self._gather(job)
            parts: list[Scores | Flags] = await job.answer
            current_call().add_stage("queue", queued, queued + job.waited)
            current_call().add_stage("infer", queued + job.waited, time.perf_counter())
            return join(parts)
        finally:
            if job.left:
                self._drop(job)
            self._admit(-len(rows), -rows.nbytes)

    def _gather(self, job: Job) -> None:
        """Hold a request back for others that come; where requests are usually alone, there is nothing to wait for."""
        self._usual += _SMOOTHING * (self._under_way - self._usual)
        self._gathered.append(job)
        self._gathered_rows += len(job.rows)
        enough = len(self._gathered) >= _ENOUGH or self._gathered_rows >= _MANY_ROWS
        if enough or self._usual < _ALONE:
            self._release()
        elif self._looking is None:
            self._looking = self._loop.call_later(_QUIET, self._look)

    def _look(self) -> None:
        """Release what was gathered if no more seem to come, otherwise look again soon."""
        self._looking = None
        if not self._gathered:
            return
        now = time.monotonic()
        if now - self._gathered[-1].since >= _QUIET or now - self._gathered[0].since >= _GATHERING:
            self._release()
        else:
            self._looking = self._loop.call_later(_QUIET, self._look)

    def _release(self) -> None:
        """Let the threads have what was gathered."""
        with self._lock:
            for job in self._gathered:
                self._turns.add(job)
                self._changed.notify()
                if self._turns.is_plenty(job.work):
                    self._plenty.notify()
        self._gathered, self._gathered_rows = [], 0

    def _drop(self, job: Job) -> None:
        if job in self._gathered:
            self._gathered.remove(job)
            self._gathered_rows -= len(job.rows)
            return
        with self._lock:
            self._turns.drop(job)

    def close(self) -> None:
        """Drop what has not begun and wait for what has."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()
            self._plenty.notify_all()
        for thread in self._threads:
            thread.join()

    def _refusal(self, num_rows: int, num_bytes: int) -> str | None:
        if self._rows + num_rows > self._limit_rows:
            return f"{self._rows} rows are waiting, at most {self._limit_rows} may; send them again later"
        if self._bytes + num_bytes > self._limit_bytes:
            return f"{self._bytes} bytes of rows are waiting, at most {self._limit_bytes} may; send them again later"
        return None

    def _too_late(self, work: Work, num_rows: int, expires: float) -> str | None:
        """Why rows that would not be done in time are not begun; what comes first is never refused for that."""
        remaining, threads = expires - time.monotonic(), self._side_by_side
        with self._lock:
            before, own = self._turns.backlog(), self._turns.seconds(work, num_rows)
            if (before + own) / threads > remaining:  # else there is no need to look at who comes first
                before = self._turns.seconds_before(work, num_rows)
        if before and (before + own) / threads > remaining:
            return f"about {before / threads:.2g} s of work come before it, the deadline is in {remaining:.2g} s"
        return None

    def _admit(self, num_rows: int, num_bytes: int) -> None:
        self._rows += num_rows
        self._bytes += num_bytes
        self._under_way += 1 if num_rows > 0 else -1
        if num_rows < 0:
            self._room.set()

    def _retry_after(self) -> float:
        """Seconds until about half of what waits is done."""
        with self._lock:
            seconds = 0.5 * self._turns.backlog() / self._side_by_side
        return min(max(seconds, _SHORTEST_RETRY), _LONGEST_RETRY)

    def _work(self, spare: bool) -> None:
        """What a thread does until the queue is closed."""
        give_way(self._nice)
        while True:
            batch, late = self._next_batch(spare)
            if late:
                self._tell(self._expire, late)
            if batch is None:
                if self._closed:
                    return
                continue
            start, beside = time.perf_counter(), self._busy
            whole, outcomes = batch.compute()
            seconds = time.perf_counter() - start
            with self._lock:
                # With spare ones more threads are busy than networks may run: part of the time was spent in waiting.
                alone = min(2 * self._side_by_side / (beside + self._busy), 1.0)
                self._turns.learn(batch.work, batch.num_rows, alone * seconds)
                self._busy -= 1
            self._tell(self._deliver, batch, whole, outcomes, seconds)

    def _next_batch(self, spare: bool) -> tuple[Batch | None, list[Job]]:
        with self._lock:
            self._idle += not spare
            try:
                while not self._closed:
                    batch, late = self._turns.take(time.monotonic(), max(self._idle, 1), spare=spare)
                    if batch and not self._turns.is_empty:  # announced once, a request may be work for several
                        self._changed.notify()
                    self._busy += batch is not None
                    if batch or late:
                        return batch, late
                    (self._plenty if spare else self._changed).wait()
                return None, []
            finally:
                self._idle -= not spare

    def _tell(self, function: object, *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(function, *arguments)  # type: ignore[arg-type]

    def _expire(self, jobs: list[Job]) -> None:
        for job in jobs:
            if not job.answer.done():
                job.answer.set_exception(_late())

    def _deliver(self, batch: Batch, whole: Scores | Flags | None, outcomes: list[Outcome], seconds: float) -> None:
        """Give every job its own; whoever is gone gets nothing, and holds up nobody."""
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
