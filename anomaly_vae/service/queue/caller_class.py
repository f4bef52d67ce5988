"""The callers of one priority: their waiting requests, and their accounts of compute time."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Hashable

from anomaly_vae.density.tiles import TILE_ROWS
from anomaly_vae.service.queue.caller_queue import CallerQueue
from anomaly_vae.service.queue.cost_model import CostModel
from anomaly_vae.service.queue.jobs import BatchKey, Job

__all__ = ["CallerClass"]

# The most accounts kept of callers without waiting requests: those with the most seconds used. Bounds memory. Chosen,
# not measured: a caller whose account is forgotten starts at the lowest one.
_MOST_IDLE_ACCOUNTS = 256


class CallerClass:
    """Callers who share the time of their class evenly. Not safe for several threads at once.

    Attributes:
        share: The part of the compute time that the class gets while another one waits.
        seconds_used: The account of the class: the seconds that it has used, divided by its share.
        waiting: The callers with waiting jobs.
        rows: Number of waiting rows by batch key.
    """

    def __init__(self, costs: CostModel, share: float) -> None:
        """Start without a caller, and no time used."""
        self._costs = costs
        self.share = share
        self.seconds_used = 0.0
        self.waiting: dict[Hashable, CallerQueue] = {}
        self.rows: Counter[BatchKey] = Counter()
        self.accounts: dict[Hashable, CallerQueue] = {}  # also of callers without waiting jobs
        self._numbers = itertools.count()

    def join(self, name: Hashable) -> CallerQueue:
        """Return the queue of a caller, as one of those that wait."""
        if name in self.waiting:
            return self.waiting[name]
        if not self.waiting:
            self.accounts = {}  # no caller competes with another: old accounts mean nothing
        lowest = min((other.seconds_used for other in self.waiting.values()), default=0.0)
        self._forget_accounts(lowest)
        caller = self.accounts.setdefault(name, CallerQueue(next(self._numbers)))
        caller.seconds_used = max(caller.seconds_used, lowest)
        self.waiting[name] = caller
        return caller

    def add(self, caller: CallerQueue, job: Job, order: float) -> None:
        """Queue a job of a caller; the lowest order goes first, then the first to arrive."""
        caller.add(job, order, next(self._numbers))
        self.rows[job.key] += job.num_waiting

    def take(self, caller: CallerQueue, job: Job, num_rows: int) -> None:
        """Take rows of a caller's first job and charge the caller. The fewer rows are left, the sooner the job goes."""
        seconds = self._costs.seconds(job.key.cost, num_rows)
        self.subtract(caller, job, num_rows)
        job.num_taken += num_rows
        caller.seconds_used += seconds
        self.seconds_used += seconds / self.share
        caller.advance(job.key, seconds)

    def settle(self, name: Hashable, seconds: float) -> None:
        """Add seconds to the account of a caller, and to that of the class: negative if too many were charged."""
        self.seconds_used += seconds / self.share
        if name in self.accounts:
            self.accounts[name].seconds_used += seconds

    def subtract(self, caller: CallerQueue | None, job: Job, num_rows: int) -> None:
        """Subtract rows of a job from those that wait."""
        for rows in (self.rows, caller.rows) if caller is not None else (self.rows,):
            rows[job.key] -= num_rows
            if rows[job.key] <= 0:
                del rows[job.key]

    def first(self) -> Job | None:
        """Return the job that goes first."""
        best, found = (float("inf"), 0), None
        for caller in self.waiting.values():
            if caller.heaps:
                job = caller.first()
                finish = self.finish(caller, job)
                if finish < best:
                    best, found = finish, job
        return found

    def finish(self, caller: CallerQueue, job: Job) -> tuple[float, int]:
        """Return the caller's account after the job's next tile of rows, and the caller's number."""
        return caller.seconds_used + self._tile_seconds(job), caller.number

    def class_finish(self, job: Job) -> float:
        """Return the account of the class after the job's next tile of rows."""
        return self.seconds_used + self._tile_seconds(job) / self.share

    def backlog(self) -> float:
        """Return the seconds that one thread needs for all waiting rows."""
        return self._seconds(self.rows)

    def backlog_of(self, name: Hashable) -> float:
        """Return the seconds that one thread needs for the waiting rows of a caller."""
        queue = self.waiting.get(name)
        return 0.0 if queue is None else self._seconds(queue.rows)

    def seconds_of_others(self, name: Hashable, most: float) -> float:
        """Return the seconds that one thread needs for the waiting rows of all other callers, ``most`` for each."""
        others = (queue for other, queue in self.waiting.items() if other != name)
        return sum(min(self._seconds(queue.rows), most) for queue in others)

    def _tile_seconds(self, job: Job) -> float:
        return self._costs.seconds(job.key.cost, min(job.num_waiting, TILE_ROWS))

    def _seconds(self, rows: Counter[BatchKey]) -> float:
        return sum(self._costs.seconds(key.cost, number) for key, number in rows.items())

    def _forget_accounts(self, lowest: float) -> None:
        """If there are too many idle accounts, keep those with the most seconds used, all above ``lowest``."""
        if len(self.accounts) > len(self.waiting) + 2 * _MOST_IDLE_ACCOUNTS:
            ahead = [name for name, idle in self.accounts.items() if idle.seconds_used > lowest]
            kept = heapq.nlargest(_MOST_IDLE_ACCOUNTS, ahead, key=lambda name: self.accounts[name].seconds_used)
            self.accounts = {name: self.accounts[name] for name in kept} | self.waiting
