"""Whose rows are computed next, and which together: a plain structure without threads or clocks.

Callers share the machine evenly, whatever each sends. Every caller has an account of the seconds it has used. The
caller whose account would be the lowest after its next rows goes first, a tile of rows at a time (fair queueing,
Demers, Keshav & Shenker 1989). A caller that comes, or comes back, starts from the lowest account of those that wait:
it cannot save up turns, and does not pay for the past. When a batch is done, each account is corrected by the time the
batch really took.

Among the requests of one caller the shortest goes first. A request that waits is overtaken by shorter ones only while
its caller uses :data:`_PATIENCE` times the seconds that the request takes, so it is never starved.

Once the service drains, all requests are those of one caller: the shortest goes first, so that most are done in time.
"""

from __future__ import annotations

import enum
import heapq
import itertools
from collections import Counter
from collections.abc import Hashable, Iterator

from anomaly_vae.service.jobs import Batch, Job, Share
from anomaly_vae.service.pace import Pace
from anomaly_vae.service.served import Work
from anomaly_vae.tiles import TILE_ROWS

__all__ = ["Turns", "Wanted"]

# A closed loop of up to this many equal requests of a caller never makes a short one of the same caller wait.
_PATIENCE = 16.0

# Accounts kept of callers that have nothing waiting: those that have used the most.
_MOST_RESTING = 256


class Wanted(enum.Enum):
    """What a thread takes."""

    ANY = enum.auto()
    FULL = enum.auto()  # only what fills a batch
    SHORT = enum.auto()  # only whole requests of at most a tile of rows


class _Line:
    """One caller's requests, in lanes of equal work, each in the order of its turns."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.used = 0.0  # seconds
        self.lanes: dict[Work, list[_Entry]] = {}
        self.rows: Counter[Work] = Counter()

    def head(self) -> Job:
        """The first of all its requests."""
        return min((lane[0] for lane in self.lanes.values()), key=lambda entry: entry[:2])[2]

    def jobs(self) -> Iterator[tuple[float, Job]]:
        """All requests that still wait, with the key of their order."""
        return ((key, job) for lane in self.lanes.values() for key, _, job in lane if not job.gone)


_Entry = tuple[float, int, Job]


class Turns:
    """Jobs that wait, and the order of their turns; not safe to call from several threads at once.

    Attributes:
        pace: How long rows take.
    """

    def __init__(self) -> None:
        """Nothing waits."""
        self.pace = Pace()
        self._lines: dict[Hashable, _Line] = {}
        self._waiting: dict[Hashable, _Line] = {}
        self._rows: Counter[Work] = Counter()
        self._numbers = itertools.count()
        self._draining = False

    def add(self, job: Job) -> None:
        """Queue a job."""
        line = self._line(job)
        key = self._key(line, self.pace.seconds(job.work, job.waiting))
        heapq.heappush(line.lanes.setdefault(job.work, []), (key, next(self._numbers), job))
        line.rows[job.work] += job.waiting
        self._rows[job.work] += job.waiting

    def drop(self, job: Job) -> None:
        """Forget the rows of a job that are not handed out yet."""
        if not job.gone:
            self._forget(self._waiting.get(self._name(job)), job, job.waiting)
            job.gone = True
            job.rows, job.taken = job.rows[:0].copy(), 0  # its turn may be far off: free the memory now

    def drain(self) -> None:
        """From now on, do what is shortest first, of all callers."""
        jobs = [job for line in self._waiting.values() for _, job in line.jobs()]
        self._draining = True
        self._lines, self._waiting = {}, {}
        self._rows.clear()
        for job in jobs:
            self.add(job)

    def take(self, now: float, idle: int = 1, wanted: Wanted = Wanted.ANY) -> tuple[Batch | None, list[Job]]:
        """The next rows to compute, None if there are none, and the jobs found expired and dropped on the way.

        Args:
            now: The time, seconds.
            idle: How many threads, with the caller's, have nothing to do: what waits is divided among them.
            wanted: What the caller may take.
        """
        late: list[Job] = []
        for caller, line in list(self._waiting.items()):
            self._clear(caller, line, now, late)
        first = self._first()
        if first is None or not self._suits(first, wanted):
            return None, late
        room = TILE_ROWS if wanted is Wanted.SHORT else self._most_rows(first.work, idle)
        # A short request would wait for the rows of long ones in its batch.
        short = wanted is not Wanted.FULL and self._suits(first, Wanted.SHORT)
        taken = self._fill(first.work, room, now, late, short=short)
        shares = [Share(job, job.taken - n, job.taken, job.rows[job.taken - n : job.taken]) for job, n in taken.items()]
        return Batch(first.work, shares, self.pace.seconds(first.work, sum(taken.values()))), late

    @property
    def is_empty(self) -> bool:
        """Whether no rows wait."""
        return not self._rows

    @property
    def is_short(self) -> bool:
        """Whether the next is a request of at most a tile of rows."""
        first = self._first()
        return first is not None and self._suits(first, Wanted.SHORT)

    def is_plenty(self, work: Work) -> bool:
        """Whether as many rows wait for a work as fill a batch."""
        return self._rows[work] >= self.pace.full_batch(work)

    def settle(self, batch: Batch, seconds: float) -> None:
        """Charge the callers of a batch that is done with the seconds it took, in place of those expected."""
        excess = (seconds - batch.charged) / batch.num_rows
        for job, start, stop, _ in batch.shares:
            line = self._lines.get(self._name(job))
            if line is not None:
                line.used += excess * (stop - start)

    def backlog(self) -> float:
        """Seconds that one thread needs for all that waits."""
        return self._seconds(self._rows)

    def backlog_of(self, caller: Hashable) -> float:
        """Seconds that one thread needs for what waits of one caller."""
        line = self._waiting.get(caller)
        return 0.0 if line is None else self._seconds(line.rows)

    @property
    def num_callers(self) -> int:
        """Callers with something waiting."""
        return len(self._waiting)

    def seconds_ahead(self, caller: Hashable, work: Work, num_rows: int) -> float:
        """Seconds that one thread needs for what a caller itself has waiting and that comes before new rows."""
        line = self._waiting.get(caller)
        if line is None:
            return 0.0
        key = self._key(line, self.pace.seconds(work, num_rows))
        return sum(self.pace.seconds(job.work, job.waiting) for other, job in line.jobs() if other <= key)

    def seconds_before(self, caller: Hashable, work: Work, num_rows: int) -> float:
        """Seconds that one thread needs for all that comes before new rows of a caller.

        That is what its own requests that come first take, and of every other caller at most as much as it has used
        itself by the end: others' work, however much, delays no caller by more than that.
        """
        ahead = self.seconds_ahead(caller, work, num_rows)
        turn = ahead + self.pace.seconds(work, num_rows)
        others = (line for name, line in self._waiting.items() if name != caller)
        return ahead + sum(min(self._seconds(line.rows), turn) for line in others)

    def _name(self, job: Job) -> Hashable:
        return None if self._draining else job.caller

    def _key(self, line: _Line, seconds: float) -> float:
        """What the requests of one caller are ordered by: the seconds they take, less the longer they have waited."""
        return seconds if self._draining else seconds + line.used / _PATIENCE

    def _line(self, job: Job) -> _Line:
        """The line of the job's caller, made active."""
        name = self._name(job)
        line = self._waiting.get(name)
        if line is not None:
            return line
        if not self._waiting:
            self._lines = {}  # no caller waits for another: old accounts mean nothing
        start = min((other.used for other in self._waiting.values()), default=0.0)
        if len(self._lines) > len(self._waiting) + 2 * _MOST_RESTING:
            ahead = [other for other, resting in self._lines.items() if resting.used > start]
            kept = heapq.nlargest(_MOST_RESTING, ahead, key=lambda other: self._lines[other].used)
            self._lines = {other: self._lines[other] for other in kept} | self._waiting
        line = self._lines.setdefault(name, _Line(next(self._numbers)))
        line.used = max(line.used, start)
        self._waiting[name] = line
        return line

    def _clear(self, caller: Hashable, line: _Line, now: float, late: list[Job]) -> None:
        """Remove given-up and expired jobs from the heads of a line's lanes, and the line if none is left."""
        for work, lane in list(line.lanes.items()):
            while lane and (lane[0][2].gone or lane[0][2].expires <= now):
                job = heapq.heappop(lane)[2]
                if not job.gone:
                    self.drop(job)
                    late.append(job)
            if not lane:
                del line.lanes[work]
        if not line.lanes:
            del self._waiting[caller]

    def _first(self) -> Job | None:
        """The job whose turn it is."""
        best, found = (float("inf"), 0), None
        for line in self._waiting.values():
            if line.lanes:
                job = line.head()
                due = self._due(line, job)
                if due < best:
                    best, found = due, job
        return found

    def _due(self, line: _Line, job: Job) -> tuple[float, int]:
        """What a line would have used after its next tile of rows."""
        return line.used + self.pace.seconds(job.work, min(job.waiting, TILE_ROWS)), line.number

    def _suits(self, job: Job, wanted: Wanted) -> bool:
        if wanted is Wanted.SHORT:
            return len(job.rows) <= TILE_ROWS and not job.gone
        return wanted is Wanted.ANY or self.is_plenty(job.work)

    def _fill(self, work: Work, room: int, now: float, late: list[Job], *, short: bool) -> dict[Job, int]:
        """Hand out rows of a work, in turn, until there is no more room; the number of each job's rows."""
        lines = {line.number: (name, line) for name, line in self._waiting.items() if work in line.lanes}
        turns = [self._due(line, line.lanes[work][0][2]) for _, line in lines.values()]
        heapq.heapify(turns)
        taken: dict[Job, int] = {}
        while room and turns:
            name, line = lines[heapq.heappop(turns)[1]]
            job = line.lanes[work][0][2]
            if short and not (self._suits(job, Wanted.SHORT) and job.waiting <= room):
                continue
            num_rows = min(job.waiting, TILE_ROWS if len(lines) > 1 else room, room)
            if not job.taken:
                job.waited = now - job.since
            self._hand_out(line, job, num_rows)
            taken[job] = taken.get(job, 0) + num_rows
            room -= num_rows
            self._clear(name, line, now, late)
            if work in line.lanes:
                heapq.heappush(turns, self._due(line, line.lanes[work][0][2]))
        return taken

    def _hand_out(self, line: _Line, job: Job, num_rows: int) -> None:
        """Take rows of a line's first job of its work, which comes the sooner the less is left of it."""
        lane = line.lanes[job.work]
        seconds = self.pace.seconds(job.work, num_rows)
        self._forget(line, job, num_rows)
        job.taken += num_rows
        line.used += seconds
        if job.waiting:
            key, number, _ = lane[0]
            heapq.heapreplace(lane, (key - seconds, number, job))
        else:
            heapq.heappop(lane)

    def _forget(self, line: _Line | None, job: Job, num_rows: int) -> None:
        for rows in (self._rows, line.rows) if line is not None else (self._rows,):
            rows[job.work] -= num_rows
            if rows[job.work] <= 0:
                del rows[job.work]

    def _seconds(self, rows: Counter[Work]) -> float:
        return sum(self.pace.seconds(work, number) for work, number in rows.items())

    def _most_rows(self, work: Work, idle: int) -> int:
        """Rows to take now, in whole tiles: a full batch, or less if others are idle."""
        share = -(-self._rows[work] // idle)
        return min(self.pace.full_batch(work), max(-(-share // TILE_ROWS), 1) * TILE_ROWS)
