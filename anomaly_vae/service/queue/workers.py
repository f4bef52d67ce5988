"""The threads that compute batches.

``threads`` of them take any rows. Half as many spare ones take full batches only, so that the networks are busy while
other threads prepare a batch or sum up its scores. One more thread takes short online requests only, and its networks
go first. So a short request does not wait for the end of a long batch, but shares the machine with it. It waits for a
batch of other short requests, since all that wait then form the next batch: many small batches take longer.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from anomaly_vae.density.runtime import go_first
from anomaly_vae.service.queue.fair_scheduler import FairScheduler, ThreadRole
from anomaly_vae.service.queue.jobs import Job, Outcome, RowBatch
from anomaly_vae.service.queue.thread_priority import lower_priority
from anomaly_vae.service.served import Result

__all__ = ["ComputedBatch", "Workers"]

# The longest batch of short requests for which the thread for short requests waits, seconds, as predicted. Chosen, not
# measured: a batch of 64 rows of a table takes 5 ms.
_SOON_S = 0.01


class ComputedBatch(NamedTuple):
    """A batch and its results.

    Attributes:
        batch: The rows.
        whole: The result of the batch; None if it failed and each share was computed alone.
        outcomes: The result of each share.
        seconds: How long that took.
    """

    batch: RowBatch
    whole: Result | None
    outcomes: list[Outcome]
    seconds: float


class Workers:
    """Threads that take rows from a scheduler and give the results to an event loop."""

    def __init__(
        self,
        scheduler: FairScheduler,
        lock: threading.Lock,
        threads: int,
        nice: int,
        *,
        on_computed: Callable[[ComputedBatch], None],
        on_expired: Callable[[list[Job]], None],
    ) -> None:
        """Start the threads. Needs a running event loop, on which the callbacks run.

        Args:
            scheduler: The waiting jobs.
            lock: Guards the scheduler.
            threads: Number of threads that compute at a time.
            nice: Added to the nice value of all threads but the one for short requests.
            on_computed: Called with every computed batch.
            on_expired: Called with jobs that expired before they were computed.
        """
        self._loop = asyncio.get_running_loop()
        self._scheduler, self._lock = scheduler, lock
        self._num_networks, self._nice = threads, nice
        self._on_computed, self._on_expired = on_computed, on_expired
        self._signals = {role: threading.Condition(lock) for role in ThreadRole}
        self._idle = self._busy = 0
        self._ends: dict[str, float] = {}  # when batches of short requests should be done, by the name of the thread
        self._is_due = False  # whether the thread for short requests looks again by itself
        self._closed = False
        roles = [ThreadRole.ANY] * threads + [ThreadRole.FULL_BATCH] * -(-threads // 2) + [ThreadRole.SHORT]
        self._threads = [
            threading.Thread(target=self._work, args=(role,), name=f"score-{i}", daemon=True)
            for i, role in enumerate(roles)
        ]
        for thread in self._threads:
            thread.start()

    def add(self, jobs: list[Job]) -> None:
        """Queue jobs and wake the threads that may take them."""
        with self._lock:
            for job in jobs:
                self._scheduler.add(job)
                self._signals[ThreadRole.ANY].notify()
                if self._scheduler.fills_batch(job):
                    self._signals[ThreadRole.FULL_BATCH].notify()
            if jobs and not self._idle and not self._is_due and self._scheduler.is_short:
                self._signals[ThreadRole.SHORT].notify()

    def close(self) -> None:
        """Wait until the threads have computed the batches that they have begun, and end them."""
        with self._lock:
            self._closed = True
            for signal in self._signals.values():
                signal.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self, role: ThreadRole) -> None:
        """Compute batches until closed: the main function of a thread."""
        if role is ThreadRole.SHORT:
            go_first()
        else:
            lower_priority(self._nice)
        while True:
            batch, expired = self._next_batch(role)
            if expired:
                self._call_back(self._on_expired, expired)
            if batch is not None:
                self._compute(batch)
                batch = None  # the next one may be long in coming: free the rows, and a model that is no longer served
            elif self._closed:
                return

    def _next_batch(self, role: ThreadRole) -> tuple[RowBatch | None, list[Job]]:
        """Wait for a batch, for jobs that expired, or until closed."""
        takes_any = role is ThreadRole.ANY
        with self._lock:
            self._idle += takes_any
            try:
                while not self._closed:
                    now = time.monotonic()
                    if role is ThreadRole.SHORT and self._wait_for_others(now):
                        continue
                    batch, expired = self._scheduler.next_batch(now, max(self._idle, 1), role)
                    if batch and not self._scheduler.is_empty:  # a job woke one thread, and has work for several
                        self._signals[ThreadRole.ANY].notify()
                        if self._scheduler.is_short:  # the next request may be another one now
                            self._signals[ThreadRole.SHORT].notify()
                    self._busy += batch is not None
                    if batch and batch.is_short and takes_any and batch.charged <= _SOON_S:
                        self._ends[threading.current_thread().name] = now + batch.charged
                    if batch or expired:
                        return batch, expired
                    self._signals[role].wait()
                return None, []
            finally:
                self._idle -= takes_any

    def _wait_for_others(self, now: float) -> bool:
        """In the thread for short requests, wait if a batch of other short requests should be done soon."""
        soon = min((end for end in self._ends.values() if end > now), default=now)
        if soon > now and self._scheduler.is_short:
            self._is_due = True
            self._signals[ThreadRole.SHORT].wait(soon - now)
            self._is_due = False
            return True
        return False

    def _compute(self, batch: RowBatch) -> None:
        start, start_cpu, busy = time.perf_counter(), time.thread_time(), self._busy
        whole, outcomes = batch.compute()
        seconds = time.perf_counter() - start
        with self._lock:
            # With more busy threads than networks may run at a time, a part of the time was spent waiting.
            computing = min(2 * self._num_networks / (busy + self._busy), 1.0)
            self._scheduler.settle(batch, time.thread_time() - start_cpu)
            self._scheduler.costs.learn(batch.key.cost, batch.num_rows, computing * seconds)
            self._busy -= 1
            self._ends.pop(threading.current_thread().name, None)
        self._call_back(self._on_computed, ComputedBatch(batch, whole, outcomes, seconds))

    def _call_back(self, function: Callable[..., None], argument: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and with it every call
            self._loop.call_soon_threadsafe(function, argument)
