"""The order in which rows are computed, and the batches that they form. Uses neither threads nor clocks.

Callers share the compute time evenly, whatever each sends (fair queueing, Demers, Keshav & Shenker 1989). Each caller
has an account of the seconds it has used. The caller whose account would be the lowest after its next tile of rows goes
first. A caller that comes, or comes back, starts at the lowest account of the callers that wait, or at its own if that
is higher: it cannot save time up. When a batch is done, the accounts are corrected by the time that it took.

Among the requests of one caller the shortest goes first. Shorter requests overtake a waiting one only until the caller
has used :data:`_PATIENCE` times the seconds that the waiting one takes, so that no request starves.

While the service drains, all requests count as one caller's. The shortest goes first, so that most are done in time.
"""

from __future__ import annotations

import enum
import heapq
import itertools
from collections import Counter
from collections.abc import Hashable

from anomaly_vae.density.tiles import TILE_ROWS
from anomaly_vae.service.queue.caller_queue import CallerQueue
from anomaly_vae.service.queue.cost_model import CostModel
from anomaly_vae.service.queue.jobs import BatchKey, Job, RowBatch, Share

__all__ = ["FairScheduler", "ThreadRole"]

# A client that keeps up to this many equal requests waiting never delays a short request of the same caller. Chosen,
# not measured: a higher value lets short requests overtake for longer, a lower one ends the wait of long ones sooner.
_PATIENCE = 16.0

# The most accounts kept of callers without waiting requests: those with the most seconds used. Bounds memory. Chosen,
# not measured: a caller whose account is forgotten starts at the lowest one.
_MOST_IDLE_ACCOUNTS = 256


class ThreadRole(enum.Enum):
    """Which rows a thread takes."""

    ANY = enum.auto()
    FULL_BATCH = enum.auto()  # only if they fill a batch
    SHORT = enum.auto()  # only whole requests of at most the work of one tile


class FairScheduler:
    """Waiting jobs, and the batches made of them. Not safe for several threads at once.

    Attributes:
        costs: Predicts how long rows take.
    """

    def __init__(self) -> None:
        """Start empty."""
        self.costs = CostModel()
        self._callers: dict[Hashable, CallerQueue] = {}  # all with an account
        self._waiting: dict[Hashable, CallerQueue] = {}  # those with waiting jobs
        self._rows: Counter[BatchKey] = Counter()
        self._numbers = itertools.count()
        self._is_draining = False

    def add(self, job: Job) -> None:
        """Queue a job."""
        caller = self._caller_queue(job)
        order = self._order(caller, self.costs.seconds(job.key.cost, job.num_waiting))
        caller.add(job, order, next(self._numbers))
        self._rows[job.key] += job.num_waiting

    def drop(self, job: Job) -> None:
        """Remove the waiting rows of a job."""
        if not job.is_dropped:
            self._subtract(self._waiting.get(self._name(job)), job, job.num_waiting)
            job.is_dropped = True
            job.rows, job.num_taken = job.rows[:0].copy(), 0  # frees the memory now; its heap entry may stay for long

    def drain(self) -> None:
        """From now on, compute the shortest request of all callers first."""
        jobs = [job for caller in self._waiting.values() for _, job in caller.jobs()]
        self._is_draining = True
        self._callers, self._waiting = {}, {}
        self._rows.clear()
        for job in jobs:
            self.add(job)

    def next_batch(
        self, now: float, num_idle: int = 1, role: ThreadRole = ThreadRole.ANY
    ) -> tuple[RowBatch | None, list[Job]]:
        """Take the next rows to compute.

        Args:
            now: The time, seconds.
            num_idle: Threads without work, this one included: the waiting rows are divided among them.
            role: Which rows the thread takes.

        Returns:
            The batch, None if there are no rows for this thread; and the expired jobs that were dropped.
        """
        expired: list[Job] = []
        for name in list(self._waiting):
            self._remove_stale(name, now, expired)
        first = self._first()
        if first is None or not self._suits(first, role):
            return None, expired
        room = TILE_ROWS if role is ThreadRole.SHORT else self._batch_rows(first.key, num_idle)
        # A batch that starts with a short request takes no long ones, which would delay it.
        short = role is not ThreadRole.FULL_BATCH and self._suits(first, ThreadRole.SHORT)
        if short:  # it is taken as a whole, even if its rows take long
            room = max(room, first.num_waiting)
        taken = self._fill(first.key, room, now, expired, short=short)
        shares = [
            Share(job, job.num_taken - n, job.num_taken, job.rows[job.num_taken - n : job.num_taken])
            for job, n in taken.items()
        ]
        return RowBatch(first.key, shares, self.costs.seconds(first.key.cost, sum(taken.values()))), expired

    @property
    def is_empty(self) -> bool:
        """Whether no rows wait."""
        return not self._rows

    @property
    def is_short(self) -> bool:
        """Whether the next request has at most one tile of rows."""
        first = self._first()
        return first is not None and self._suits(first, ThreadRole.SHORT)

    def fills_batch(self, key: BatchKey) -> bool:
        """Return whether the waiting rows with this key fill a batch."""
        return self._rows[key] >= self.costs.full_batch(key.cost)

    def settle(self, batch: RowBatch, seconds: float) -> None:
        """Correct the accounts of a batch's callers by the time that it took, in place of the predicted time."""
        excess = (seconds - batch.charged) / batch.num_rows
        for job, start, stop, _ in batch.shares:
            caller = self._callers.get(self._name(job))
            if caller is not None:
                caller.seconds_used += excess * (stop - start)

    def backlog(self) -> float:
        """Return the seconds that one thread needs for all waiting rows."""
        return self._seconds(self._rows)

    def backlog_of(self, caller: Hashable) -> float:
        """Return the seconds that one thread needs for the waiting rows of a caller."""
        queue = self._waiting.get(caller)
        return 0.0 if queue is None else self._seconds(queue.rows)

    @property
    def num_callers(self) -> int:
        """Callers with waiting jobs."""
        return len(self._waiting)

    def own_seconds_ahead(self, caller: Hashable, seconds: float) -> float:
        """Return the seconds that one thread needs for a caller's waiting rows that go before new ones."""
        queue = self._waiting.get(caller)
        if queue is None:
            return 0.0
        order = self._order(queue, seconds)
        return sum(self.costs.seconds(job.key.cost, job.num_waiting) for other, job in queue.jobs() if other <= order)

    def seconds_ahead(self, caller: Hashable, seconds: float) -> float:
        """Return the seconds that one thread needs for all other rows computed until new ones of a caller are done.

        These are the caller's own rows ahead, and rows of every other caller. By equal shares, each of the others gets
        at most as many seconds as this caller needs for its rows ahead and its new rows.
        """
        own = self.own_seconds_ahead(caller, seconds)
        most = own + seconds
        others = (queue for name, queue in self._waiting.items() if name != caller)
        return own + sum(min(self._seconds(queue.rows), most) for queue in others)

    def _name(self, job: Job) -> Hashable:
        return None if self._is_draining else job.caller

    def _order(self, caller: CallerQueue, seconds: float) -> float:
        """Return the order of a new request of a caller: its seconds, plus an offset that grows with the time used."""
        return seconds if self._is_draining else seconds + caller.seconds_used / _PATIENCE

    def _caller_queue(self, job: Job) -> CallerQueue:
        """Return the queue of the job's caller, as one of those that wait."""
        name = self._name(job)
        if name in self._waiting:
            return self._waiting[name]
        if not self._waiting:
            self._callers = {}  # no caller competes with another: old accounts mean nothing
        lowest = min((other.seconds_used for other in self._waiting.values()), default=0.0)
        self._forget_accounts(lowest)
        caller = self._callers.setdefault(name, CallerQueue(next(self._numbers)))
        caller.seconds_used = max(caller.seconds_used, lowest)
        self._waiting[name] = caller
        return caller

    def _forget_accounts(self, lowest: float) -> None:
        """If there are too many idle accounts, keep those with the most seconds used, all above ``lowest``."""
        if len(self._callers) > len(self._waiting) + 2 * _MOST_IDLE_ACCOUNTS:
            ahead = [name for name, idle in self._callers.items() if idle.seconds_used > lowest]
            kept = heapq.nlargest(_MOST_IDLE_ACCOUNTS, ahead, key=lambda name: self._callers[name].seconds_used)
            self._callers = {name: self._callers[name] for name in kept} | self._waiting

    def _remove_stale(self, name: Hashable, now: float, expired: list[Job]) -> None:
        """Remove dropped and expired jobs from the front of a caller's heaps, and the caller if none is left."""
        caller = self._waiting[name]
        for job in caller.remove_stale(now):
            self.drop(job)
            expired.append(job)
        if not caller.heaps:
            del self._waiting[name]

    def _first(self) -> Job | None:
        """Return the job that goes first."""
        best, found = (float("inf"), 0), None
        for caller in self._waiting.values():
            if caller.heaps:
                job = caller.first()
                finish = self._finish(caller, job)
                if finish < best:
                    best, found = finish, job
        return found

    def _finish(self, caller: CallerQueue, job: Job) -> tuple[float, int]:
        """Return the caller's account after the job's next tile of rows, and the caller's number."""
        seconds = self.costs.seconds(job.key.cost, min(job.num_waiting, TILE_ROWS))
        return caller.seconds_used + seconds, caller.number

    def _suits(self, job: Job, role: ThreadRole) -> bool:
        if role is ThreadRole.SHORT:
            return len(job.rows) * job.key.cost.work <= TILE_ROWS and not job.is_dropped
        return role is ThreadRole.ANY or self.fills_batch(job.key)

    def _fill(self, key: BatchKey, room: int, now: float, expired: list[Job], *, short: bool) -> dict[Job, int]:
        """Take rows with this key, one caller after the other, until the room is full; return each job's number."""
        callers = {caller.number: (name, caller) for name, caller in self._waiting.items() if key in caller.heaps}
        turns = [self._finish(caller, caller.first(key)) for _, caller in callers.values()]
        heapq.heapify(turns)
        taken: dict[Job, int] = {}
        while room and turns:
            name, caller = callers[heapq.heappop(turns)[1]]
            job = caller.first(key)
            if short and not (self._suits(job, ThreadRole.SHORT) and job.num_waiting <= room):
                continue
            num_rows = min(job.num_waiting, TILE_ROWS if len(callers) > 1 else room, room)
            if not job.num_taken:
                job.seconds_waited = now - job.queued_at
            self._take(caller, job, num_rows)
            taken[job] = taken.get(job, 0) + num_rows
            room -= num_rows
            self._remove_stale(name, now, expired)
            if key in caller.heaps:
                heapq.heappush(turns, self._finish(caller, caller.first(key)))
        return taken

    def _take(self, caller: CallerQueue, job: Job, num_rows: int) -> None:
        """Take rows of a caller's first job and charge the caller. The fewer rows are left, the sooner the job goes."""
        seconds = self.costs.seconds(job.key.cost, num_rows)
        self._subtract(caller, job, num_rows)
        job.num_taken += num_rows
        caller.seconds_used += seconds
        caller.advance(job.key, seconds)

    def _subtract(self, caller: CallerQueue | None, job: Job, num_rows: int) -> None:
        for rows in (self._rows, caller.rows) if caller is not None else (self._rows,):
            rows[job.key] -= num_rows
            if rows[job.key] <= 0:
                del rows[job.key]

    def _seconds(self, rows: Counter[BatchKey]) -> float:
        return sum(self.costs.seconds(key.cost, number) for key, number in rows.items())

    def _batch_rows(self, key: BatchKey, num_idle: int) -> int:
        """Return how many rows to take: a full batch, or whole tiles as an equal part for each idle thread."""
        share = -(-self._rows[key] // num_idle)
        return min(self.costs.full_batch(key.cost), max(-(-share // TILE_ROWS), 1) * TILE_ROWS)
