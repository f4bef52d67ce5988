"""The waiting requests of one caller."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator

from anomaly_vae.service.queue.jobs import BatchKey, Job

__all__ = ["CallerQueue"]

Entry = tuple[float, int, Job]


class CallerQueue:
    """The waiting requests of one caller: one heap for each batch key.

    Attributes:
        number: Breaks ties between callers.
        seconds_used: The caller's account of compute time.
        heaps: Entries (order, tie-breaker, job) by batch key.
        rows: Number of waiting rows by batch key.
    """

    def __init__(self, number: int) -> None:
        """Start with no request, and no time used."""
        self.number = number
        self.seconds_used = 0.0
        self.heaps: dict[BatchKey, list[Entry]] = {}
        self.rows: Counter[BatchKey] = Counter()

    def add(self, job: Job, order: float, number: int) -> None:
        """Queue a job; the lowest order goes first, then the lowest number."""
        heapq.heappush(self.heaps.setdefault(job.key, []), (order, number, job))
        self.rows[job.key] += job.num_waiting

    def first(self, key: BatchKey | None = None) -> Job:
        """Return the next job with this key, or of all keys."""
        if key is not None:
            return self.heaps[key][0][2]
        return min((heap[0] for heap in self.heaps.values()), key=lambda entry: entry[:2])[2]

    def jobs(self) -> Iterator[tuple[float, Job]]:
        """Return the order and the job of every request that still waits."""
        return ((order, job) for heap in self.heaps.values() for order, _, job in heap if not job.is_dropped)

    def advance(self, key: BatchKey, seconds: float) -> None:
        """Move the first job with this key forward by the seconds of the rows taken from it; remove it if none wait."""
        heap = self.heaps[key]
        order, number, job = heap[0]
        if job.num_waiting:
            heapq.heapreplace(heap, (order - seconds, number, job))
        else:
            heapq.heappop(heap)

    def remove_stale(self, now: float) -> list[Job]:
        """Remove jobs that are dropped or expired from the front of each heap, and empty heaps; return the expired."""
        expired = []
        for key, heap in list(self.heaps.items()):
            while heap and (heap[0][2].is_dropped or heap[0][2].expires <= now):
                job = heapq.heappop(heap)[2]
                if not job.is_dropped:
                    expired.append(job)
            if not heap:
                del self.heaps[key]
        return expired
