"""Small requests that come together are held back for a moment, so that they are computed together.

A request that comes alone is computed at once. Where many come, each by itself would cost the time that the others need
to get here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from anomaly_vae.service.jobs import Job

__all__ = ["Gathering"]

# What is gathered is released after _LONGEST_S seconds, after _QUIET_S seconds without a new request, at _ENOUGH
# requests or at _MANY_ROWS rows: then more would gain nothing. While fewer than _ALONE requests of less than _MANY_ROWS
# rows are under way on average, nothing is gathered.
_LONGEST_S = 0.012
_QUIET_S = 0.0007
_ENOUGH = 32
_MANY_ROWS = 64
_ALONE = 1.5
_SMOOTHING = 0.1


class Gathering:
    """Requests on their way to the threads; all methods belong to the event loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, start: Callable[[list[Job]], None]) -> None:
        """Hold nothing back.

        Args:
            loop: Wakes this up.
            start: Is given the jobs that go on.
        """
        self._loop = loop
        self._start = start
        self._jobs: list[Job] = []
        self._rows = 0
        self._looking: asyncio.TimerHandle | None = None
        self._small, self._usual = 0, 1.0  # small requests under way: now, and on average

    def add(self, job: Job) -> None:
        """Let a request go on, now or in a moment."""
        self._small += len(job.rows) < _MANY_ROWS
        self._usual += _SMOOTHING * (self._small - self._usual)
        self._jobs.append(job)
        self._rows += len(job.rows)
        if len(self._jobs) >= _ENOUGH or self._rows >= _MANY_ROWS or self._usual < _ALONE:
            self.release()
        elif self._looking is None:
            self._looking = self._loop.call_later(_QUIET_S, self._look)

    def forget(self, num_rows: int) -> None:
        """Count a request of this number of rows as no longer under way."""
        self._small -= num_rows < _MANY_ROWS

    def drop(self, job: Job) -> bool:
        """Give up a request that is held back; whether it was."""
        if job not in self._jobs:
            return False
        self._jobs.remove(job)
        self._rows -= len(job.rows)
        return True

    def release(self) -> None:
        """Let all go on."""
        jobs, self._jobs, self._rows = self._jobs, [], 0
        self._start(jobs)

    def _look(self) -> None:
        """Release what was gathered if no more seem to come, otherwise look again soon."""
        self._looking = None
        if not self._jobs:
            return
        now = time.monotonic()
        if now - self._jobs[-1].since >= _QUIET_S or now - self._jobs[0].since >= _LONGEST_S:
            self.release()
        else:
            self._looking = self._loop.call_later(_QUIET_S, self._look)
