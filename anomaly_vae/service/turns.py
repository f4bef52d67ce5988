"""Whose rows are computed next, and which together: a plain structure without threads or clocks.

Requests are served in the order of *time served so far when it came + time its own rows take*, times being computing
time: as if all waiting requests were computed side by side, each as fast as the others, and the ones that would then be
done first came first. A short request overtakes long ones, but only those that came within the time a long one takes
itself, so none starves, and requests of one size are served as they came. (Fair queueing, Demers, Keshav & Shenker
1989, with the clock of the work done.)
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from anomaly_vae.densities import FloatArray
from anomaly_vae.scores import Flags, Scores
from anomaly_vae.service.served import Work
from anomaly_vae.tiles import TILE_ROWS

__all__ = ["Batch", "Job", "Outcome", "Share", "Turns"]

# A batch takes about this long: a short request waits that long for the one before it.
_BATCH_SECONDS = 0.01
_MOST_BATCH_ROWS = 1_024

# Before a pace is known: rows with so many (row, sample) pairs, and so many seconds a pair.
_FIRST_PAIRS = 16_384
_FIRST_SECONDS_PER_PAIR = 1e-6

_SMOOTHING = 0.1

Outcome = Scores | Flags | Exception


@dataclass(slots=True, eq=False)
class Job:
    """The rows of one request.

    Attributes:
        work: What to compute.
        rows: Checked rows, (N, D).
        expires: When nobody waits any more, on the clock of :meth:`Turns.take`; infinite for never.
        answer: The future of who waits.
        since: When it was queued.
        taken: Rows handed out.
        left: Rows not computed yet.
        parts: What was computed, by the first row.
        waited: Seconds until the first row was handed out.
        computing: Seconds that its share of batches took.
        gone: Whether nobody waits any more.
    """

    work: Work
    rows: FloatArray
    expires: float
    answer: Any
    since: float
    taken: int = 0
    left: int = field(init=False)
    parts: dict[int, Scores | Flags] = field(default_factory=dict)
    waited: float = 0.0
    computing: float = 0.0
    gone: bool = False

    def __post_init__(self) -> None:
        """Nothing is computed yet."""
        self.left = len(self.rows)

    def put(self, start: int, stop: int, outcome: Scores | Flags | Exception, seconds: float) -> list[Scores | Flags]:
        """Take in what was computed, and answer if that was the last; all parts then, in order, otherwise none."""
        if isinstance(outcome, Exception):
            self.answer.set_exception(outcome)
            return []
        self.parts[start] = outcome
        self.left -= stop - start
        self.computing += seconds
        if self.left:
            return []
        parts = [self.parts[i] for i in sorted(self.parts)]
        self.answer.set_result(parts)
        return parts

    @property
    def waiting(self) -> int:
        """Rows not handed out."""
        return len(self.rows) - self.taken


class Share(NamedTuple):
    """Rows of one job in a batch.

    Attributes:
        job: Whose.
        start, stop: Their places among the rows of the job.
        rows: The rows themselves, kept here because the job lets go of them when it is dropped.
    """

    job: Job
    start: int
    stop: int
    rows: FloatArray


class Batch(NamedTuple):
    """Rows to be computed together."""

    work: Work
    shares: list[Share]

    @property
    def num_rows(self) -> int:
        """Rows in all."""
        return sum(share.stop - share.start for share in self.shares)

    def rows(self) -> FloatArray:
        """The rows one after the other, (N, D)."""
        parts = [share.rows for share in self.shares]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def compute(self) -> tuple[Scores | Flags | None, list[Outcome]]:
        """What came of the batch, and of every share. If one fails, each is computed by itself: others do not fail."""
        try:
            whole = self.work.run(self.rows())
        except Exception as error:  # noqa: BLE001 (a fault of ours, told to whom it concerns)
            if len(self.shares) == 1:
                return None, [error]
            return None, [Batch(self.work, [share]).compute()[1][0] for share in self.shares]
        if len(self.shares) == 1:
            return whole, [whole]
        stops = list(itertools.accumulate(share.stop - share.start for share in self.shares))
        return whole, [whole[start:stop] for start, stop in itertools.pairwise([0, *stops])]


_Entry = tuple[float, int, Job]


class Turns:
    """Jobs that wait, and the order of their turns; not safe to call from several threads at once."""

    def __init__(self) -> None:
        """Nothing waits."""
        self._lanes: dict[Work, list[_Entry]] = {}
        self._rows: Counter[Work] = Counter()
        self._seconds_per_row: dict[Any, float] = {}
        self._served = 0.0
        self._numbers = itertools.count()

    def add(self, job: Job) -> None:
        """Queue a job."""
        entry = (self._served + self.seconds(job.work, job.waiting), next(self._numbers), job)
        heapq.heappush(self._lanes.setdefault(job.work, []), entry)
        self._rows[job.work] += job.waiting

    def drop(self, job: Job) -> None:
        """Forget the rows of a job that are not handed out yet."""
        if not job.gone:
            self._forget(job, job.waiting)
            job.gone = True
            job.rows, job.taken = job.rows[:0].copy(), 0  # its turn may be far off: free the memory now

    def take(self, now: float, idle: int = 1, *, spare: bool = False) -> tuple[Batch | None, list[Job]]:
        """The next rows to compute, None if there are none, and the jobs found expired and dropped on the way.

        Args:
            now: The time, seconds.
            idle: How many threads, with the caller's, have nothing to do: what waits is divided among them.
            spare: Whether to take only what fills a batch.
        """
        late: list[Job] = []
        lane = self._next_lane(now, late)
        if lane is None or (spare and not self.is_plenty(lane[0][2].work)):
            return None, late
        work = lane[0][2].work
        room, shares = self._most_rows(work, idle), []
        while room and self._clear_head(lane, now, late):
            job = lane[0][2]
            start, job.taken = job.taken, job.taken + min(job.waiting, room)
            shares.append(Share(job, start, job.taken, job.rows[start : job.taken]))
            if start == 0:
                job.waited = now - job.since
            room -= job.taken - start
            self._forget(job, job.taken - start)
            if not job.waiting:
                heapq.heappop(lane)
        if not lane:
            self._lanes.pop(work, None)
        batch = Batch(work, shares)
        self._served += self.seconds(work, batch.num_rows)
        return batch, late

    @property
    def is_empty(self) -> bool:
        """Whether no rows wait."""
        return not self._rows

    def is_plenty(self, work: Work) -> bool:
        """Whether as many rows wait for a work as fill a batch."""
        return self._rows[work] >= self._full(work)

    def learn(self, work: Work, num_rows: int, seconds: float) -> None:
        """Learn how long a batch took."""
        per_row = seconds / (-(-num_rows // TILE_ROWS) * TILE_ROWS)  # a few rows take about as long as a tile of them
        known = self._seconds_per_row.get(work.pace, per_row)
        self._seconds_per_row[work.pace] = known + _SMOOTHING * (per_row - known)

    def backlog(self) -> float:
        """Seconds that one thread needs for all that waits."""
        return sum(self.seconds(work, rows) for work, rows in self._rows.items())

    def seconds(self, work: Work, num_rows: int) -> float:
        """Seconds that one thread needs for some rows, as far as is known."""
        per_row = self._seconds_per_row.get(work.pace)
        return num_rows * (work.num_samples * _FIRST_SECONDS_PER_PAIR if per_row is None else per_row)

    def seconds_before(self, work: Work, num_rows: int) -> float:
        """Seconds that one thread needs for what would come before so many new rows."""
        tag = self._served + self.seconds(work, num_rows)
        return sum(
            self.seconds(job.work, job.waiting)
            for lane in self._lanes.values()
            for other, _, job in lane
            if other <= tag and not job.gone
        )

    def _next_lane(self, now: float, late: list[Job]) -> list[_Entry] | None:
        """The lane whose first job is first of all; lanes of dead jobs are removed on the way."""
        for work, lane in list(self._lanes.items()):
            if not self._clear_head(lane, now, late):
                del self._lanes[work]
        return min(self._lanes.values(), key=lambda lane: lane[0][:2], default=None)

    def _clear_head(self, lane: list[_Entry], now: float, late: list[Job]) -> bool:
        """Remove jobs that nobody waits for from the head of a lane; whether one is left."""
        while lane:
            job = lane[0][2]
            if not job.gone and job.expires > now:
                return True
            heapq.heappop(lane)
            if not job.gone:
                self.drop(job)
                late.append(job)
        return False

    def _forget(self, job: Job, num_rows: int) -> None:
        self._rows[job.work] -= num_rows
        if not self._rows[job.work]:
            del self._rows[job.work]

    def _most_rows(self, work: Work, idle: int) -> int:
        """Rows to take now, in whole tiles: a full batch, or less if others are idle."""
        share = -(-self._rows[work] // idle)
        return min(self._full(work), max(-(-share // TILE_ROWS), 1) * TILE_ROWS)

    def _full(self, work: Work) -> int:
        """Rows of a full batch: about :data:`_BATCH_SECONDS` of work in whole tiles."""
        per_row = self._seconds_per_row.get(work.pace)
        rows = _FIRST_PAIRS / work.num_samples if per_row is None else _BATCH_SECONDS / max(per_row, 1e-9)
        return int(min(max(rows // TILE_ROWS, 1), _MOST_BATCH_ROWS // TILE_ROWS)) * TILE_ROWS
