"""The order in which rows are computed, and the batches that they form. Uses neither threads nor clocks.

Callers share the compute time evenly, whatever each sends (fair queueing, Demers, Keshav & Shenker 1989). Each caller
has an account of the seconds it has used. The caller whose account would be the lowest after its next tile of rows goes
first. A caller that comes, or comes back, starts at the lowest account of the callers that wait, or at its own if that
is higher: it cannot save time up. When a batch is done, the accounts are corrected by the time that it took.

Callers of one priority form a class. The classes share the time in the same way, but not evenly: see :data:`_SHARES`.

Among the requests of one caller the shortest goes first. Shorter requests overtake a waiting one only until the caller
has used :data:`_PATIENCE` times the seconds that the waiting one takes, so that no request starves.

While the service drains, all requests count as one caller's. The shortest goes first, so that most are done in time.
"""

from __future__ import annotations

import enum
import heapq
import math
from collections.abc import Hashable, Iterable

from anomaly_vae.density.tiles import TILE_ROWS
from anomaly_vae.service.callers import Priority
from anomaly_vae.service.queue.caller_class import CallerClass
from anomaly_vae.service.queue.caller_queue import CallerQueue
from anomaly_vae.service.queue.cost_model import CostModel
from anomaly_vae.service.queue.jobs import Job, RowBatch, Share

__all__ = ["FairScheduler", "ThreadRole"]

# A client that keeps up to this many equal requests waiting never delays a short request of the same caller. Chosen,
# not measured: a higher value lets short requests overtake for longer, a lower one ends the wait of long ones sooner.
_PATIENCE = 16.0

# Parts of the compute time while both classes wait. Chosen, not measured: a larger part of batch delays online rows,
# without one batch would starve.
_SHARES = {Priority.ONLINE: 0.95, Priority.BATCH: 0.05}

# Time constant of the average of the online work, seconds. Chosen, not measured: a longer one averages out bursts, a
# shorter one follows changes.
_LOAD_S = 5.0


class ThreadRole(enum.Enum):
    """Which rows a thread takes."""

    ANY = enum.auto()
    FULL_BATCH = enum.auto()  # only if they fill a batch
    SHORT = enum.auto()  # only whole online requests of at most the work of one tile


class FairScheduler:
    """Waiting jobs, and the batches made of them. Not safe for several threads at once.

    Attributes:
        costs: Predicts how long rows take.
    """

    def __init__(self) -> None:
        """Start empty."""
        self.costs = CostModel()
        self._classes = self._no_callers()
        self._is_draining = False
        self._online_load, self._load_at = 0.0, 0.0

    def add(self, job: Job) -> None:
        """Queue a job."""
        group = self._class(job)
        if not group.waiting:
            self._enter(group)
        caller = group.join(self._name(job))
        group.add(caller, job, self._order(caller, self.costs.seconds(job.key.cost, job.num_waiting)))

    def drop(self, job: Job) -> None:
        """Remove the waiting rows of a job."""
        if not job.is_dropped:
            group = self._class(job)
            group.subtract(group.waiting.get(self._name(job)), job, job.num_waiting)
            job.is_dropped = True
            job.rows, job.num_taken = job.rows[:0].copy(), 0  # frees the memory now; its heap entry may stay for long

    def drain(self) -> None:
        """From now on, compute the shortest request of all callers first."""
        jobs = [job for caller in self._waiting() for _, job in caller.jobs()]
        self._is_draining = True
        self._classes = self._no_callers()
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
        for group in self._classes.values():
            for name in list(group.waiting):
                self._remove_stale(group, name, now, expired)
        first = self._first(role)
        if first is None or not self._suits(first, role):
            return None, expired
        room = self._room(first, num_idle, role)
        # A batch that starts with a short request takes no long ones, which would delay it.
        short = role is not ThreadRole.FULL_BATCH and self._is_tile(first)
        if short:  # it is taken as a whole, even if its rows take long
            room = max(room, first.num_waiting)
        taken = self._fill(first, room, now, expired, short=short)
        shares = [
            Share(job, job.num_taken - n, job.num_taken, job.rows[job.num_taken - n : job.num_taken])
            for job, n in taken.items()
        ]
        seconds = self.costs.seconds(first.key.cost, sum(taken.values()))
        if first.priority is Priority.ONLINE:
            self._online_load, self._load_at = self.online_load(now) + seconds / _LOAD_S, now
        return RowBatch(first.key, shares, seconds, short and first.priority is Priority.ONLINE), expired

    @property
    def is_empty(self) -> bool:
        """Whether no rows wait."""
        return not any(group.rows for group in self._classes.values())

    @property
    def is_short(self) -> bool:
        """Whether the next online request has at most one tile of rows."""
        first = self._first(ThreadRole.SHORT)
        return first is not None and self._suits(first, ThreadRole.SHORT)

    def fills_batch(self, job: Job) -> bool:
        """Return whether the waiting rows that may be computed with a job's fill a batch."""
        return self._class(job).rows[job.key] >= self.costs.full_batch(job.key.cost)

    def settle(self, batch: RowBatch, seconds: float) -> None:
        """Correct the accounts of a batch's callers by the time that it took, in place of the predicted time."""
        excess = (seconds - batch.charged) / batch.num_rows
        for job, start, stop, _ in batch.shares:
            self._class(job).settle(self._name(job), excess * (stop - start))

    def backlog(self) -> float:
        """Return the seconds that one thread needs for all waiting rows."""
        return sum(group.backlog() for group in self._classes.values())

    def backlog_of(self, caller: Hashable, priority: Priority = Priority.ONLINE) -> float:
        """Return the seconds that one thread needs for the waiting rows of a caller."""
        return self._classes[priority].backlog_of(caller)

    @property
    def num_callers(self) -> int:
        """Callers with waiting jobs."""
        return sum(len(group.waiting) for group in self._classes.values())

    def online_load(self, now: float) -> float:
        """Return the seconds of online work per second, of all threads together, averaged over the last seconds."""
        return self._online_load * math.exp(-(now - self._load_at) / _LOAD_S)

    def own_seconds_ahead(self, caller: Hashable, seconds: float, priority: Priority = Priority.ONLINE) -> float:
        """Return the seconds that one thread needs for a caller's waiting rows that go before new ones."""
        queue = self._classes[priority].waiting.get(caller)
        if queue is None:
            return 0.0
        order = self._order(queue, seconds)
        return sum(self.costs.seconds(job.key.cost, job.num_waiting) for other, job in queue.jobs() if other <= order)

    def seconds_ahead(
        self, caller: Hashable, seconds: float, priority: Priority = Priority.ONLINE, free: float = 1.0
    ) -> float:
        """Return the seconds that one thread needs for all other rows computed until new ones of a caller are done.

        These are the caller's own rows ahead, and rows of every other caller of its class: by equal shares, each of
        them gets at most as many seconds as this caller needs for its rows ahead and its new rows. Beside them are
        computed the rows of the other class that wait, and those that arrive meanwhile, as far as its share allows.

        Args:
            caller, priority: Whose rows they are.
            seconds: How long one thread takes for them.
            free: The part of the compute time that rows of the other class leave which arrive meanwhile.
        """
        own, group = self.own_seconds_ahead(caller, seconds, priority), self._classes[priority]
        ahead = own + group.seconds_of_others(caller, own + seconds)
        others = sum(other.backlog() for other in self._classes.values() if other is not group)
        if not ahead + others:
            return 0.0
        until_done = (ahead + seconds + others) / free if free > 0.0 else math.inf
        return min(until_done, (ahead + seconds) / group.share) - seconds

    def _no_callers(self) -> dict[Priority, CallerClass]:
        return {priority: CallerClass(self.costs, share) for priority, share in _SHARES.items()}

    def _class(self, job: Job) -> CallerClass:
        return self._classes[Priority.ONLINE if self._is_draining else job.priority]

    def _waiting(self) -> Iterable[CallerQueue]:
        return [caller for group in self._classes.values() for caller in group.waiting.values()]

    def _enter(self, group: CallerClass) -> None:
        """Set the account of a class that comes, or comes back: it cannot save time up."""
        others = [other.seconds_used for other in self._classes.values() if other is not group and other.waiting]
        group.seconds_used = max([group.seconds_used, *others])
        if not others:  # no class competes with another: old accounts mean nothing
            for each in self._classes.values():
                each.seconds_used = 0.0

    def _name(self, job: Job) -> Hashable:
        return None if self._is_draining else job.caller

    def _order(self, caller: CallerQueue, seconds: float) -> float:
        """Return the order of a new request of a caller: its seconds, plus an offset that grows with the time used."""
        return seconds if self._is_draining else seconds + caller.seconds_used / _PATIENCE

    def _remove_stale(self, group: CallerClass, name: Hashable, now: float, expired: list[Job]) -> None:
        """Remove dropped and expired jobs from the front of a caller's heaps, and the caller if none is left."""
        caller = group.waiting[name]
        for job in caller.remove_stale(now):
            self.drop(job)
            expired.append(job)
        if not caller.heaps:
            del group.waiting[name]

    def _first(self, role: ThreadRole) -> Job | None:
        """Return the job that goes first, for a thread of this role."""
        online = self._classes[Priority.ONLINE].first()
        if role is ThreadRole.SHORT:
            return online
        batch = self._classes[Priority.BATCH].first()
        if online is None or batch is None:
            return online or batch
        return min((online, batch), key=lambda job: self._class(job).class_finish(job))

    def _suits(self, job: Job, role: ThreadRole) -> bool:
        if role is ThreadRole.SHORT:
            return self._is_tile(job)
        return role is ThreadRole.ANY or self.fills_batch(job)

    def _is_tile(self, job: Job) -> bool:
        return len(job.rows) * job.key.cost.work <= TILE_ROWS and not job.is_dropped

    def _room(self, first: Job, num_idle: int, role: ThreadRole) -> int:
        """Return how many rows to take: a full batch, or whole tiles as an equal part for each idle thread.

        One tile in the thread for short requests, and of batch rows while online rows wait.
        """
        if role is ThreadRole.SHORT:
            return TILE_ROWS
        online, group = self._classes[Priority.ONLINE], self._class(first)
        share = -(-group.rows[first.key] // num_idle) if group is online or not online.rows else 1
        return min(self.costs.full_batch(first.key.cost), max(-(-share // TILE_ROWS), 1) * TILE_ROWS)

    def _fill(self, first: Job, room: int, now: float, expired: list[Job], *, short: bool) -> dict[Job, int]:
        """Take rows with the key of the first job, of its class, one caller after the other, until the room is full.

        Returns:
            The number of rows of each job.
        """
        group, key = self._class(first), first.key
        callers = {caller.number: (name, caller) for name, caller in group.waiting.items() if key in caller.heaps}
        turns = [group.finish(caller, caller.first(key)) for _, caller in callers.values()]
        heapq.heapify(turns)
        taken: dict[Job, int] = {}
        while room and turns:
            name, caller = callers[heapq.heappop(turns)[1]]
            job = caller.first(key)
            if short and not (self._is_tile(job) and job.num_waiting <= room):
                continue
            num_rows = min(job.num_waiting, TILE_ROWS if len(callers) > 1 else room, room)
            if not job.num_taken:
                job.seconds_waited = now - job.queued_at
            group.take(caller, job, num_rows)
            taken[job] = taken.get(job, 0) + num_rows
            room -= num_rows
            self._remove_stale(group, name, now, expired)
            if key in caller.heaps:
                heapq.heappush(turns, group.finish(caller, caller.first(key)))
        return taken
