"""A window in which small requests are collected, so that they are computed together.

A request that comes alone is passed on at once. When many small requests come together, it is faster to wait and to
compute them as one batch than to compute each alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from anomaly_vae.service.queue.jobs import Job

__all__ = ["BatchingWindow"]

# The window closes after _MAX_WAIT_S seconds, after _IDLE_S seconds without a new request, at _MAX_REQUESTS requests or
# at _MAX_ROWS rows. Chosen, no measurement is on record: larger values make larger batches, smaller ones make
# shorter waits.
_MAX_WAIT_S = 0.012
_IDLE_S = 0.0007
_MAX_REQUESTS = 32
_MAX_ROWS = 64

# No request is held back while the average number of small requests in flight is less than this. A lone client that
# sends one request after the other has 1. Chosen between 1 and 2, not measured.
_FEWEST_IN_FLIGHT = 1.5
# Weight of a new request in that moving average. Chosen, not measured.
_SMOOTHING = 0.1


class BatchingWindow:
    """Requests on their way to the threads. All methods belong to the event loop's thread.

    A request is small if it has less than :data:`_MAX_ROWS` rows.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, pass_on: Callable[[list[Job]], None]) -> None:
        """Start empty.

        Args:
            loop: Runs the timer.
            pass_on: Called with the jobs when the window closes.
        """
        self._loop = loop
        self._pass_on = pass_on
        self._jobs: list[Job] = []
        self._rows = 0
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._in_flight, self._average_in_flight = 0, 1.0  # small requests

    def add(self, job: Job) -> None:
        """Collect a request, and close the window if it is full or there is no other request to wait for."""
        self._in_flight += len(job.rows) < _MAX_ROWS
        self._average_in_flight += _SMOOTHING * (self._in_flight - self._average_in_flight)
        self._jobs.append(job)
        self._rows += len(job.rows)
        is_full = len(self._jobs) >= _MAX_REQUESTS or self._rows >= _MAX_ROWS
        if is_full or self._average_in_flight < _FEWEST_IN_FLIGHT:
            self.close()
        elif self._timer is None:
            self._start_timer()

    def forget(self, num_rows: int) -> None:
        """Count a request with this number of rows as no longer in flight."""
        self._in_flight -= num_rows < _MAX_ROWS

    def drop(self, job: Job) -> bool:
        """Remove a request; return whether it was here."""
        if job not in self._jobs:
            return False
        self._jobs.remove(job)
        self._rows -= len(job.rows)
        return True

    def close(self) -> None:
        """Pass on all collected requests."""
        jobs, self._jobs, self._rows = self._jobs, [], 0
        self._pass_on(jobs)

    def _start_timer(self) -> None:
        self._due = time.monotonic() + _IDLE_S
        self._timer = self._loop.call_later(_IDLE_S, self._on_timer)

    def _on_timer(self) -> None:
        """Close the window if its time is over; otherwise start the timer again."""
        self._timer = None
        if not self._jobs:
            return
        now = time.monotonic()
        # If the timer is late, the event loop was held up, and requests that came meanwhile are still to be read.
        is_quiet = now - self._jobs[-1].queued_at >= _IDLE_S and now - self._due < _IDLE_S
        if is_quiet or now - self._jobs[0].queued_at >= _MAX_WAIT_S:
            self.close()
        else:
            self._start_timer()
