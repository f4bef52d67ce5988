"""Who may queue rows, and who is told to come back later: bounded in rows, bytes and seconds, shared among callers."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Hashable

import grpc

from anomaly_vae.service.faults import Fault
from anomaly_vae.service.room import Room
from anomaly_vae.service.served import Work
from anomaly_vae.service.turns import Turns

__all__ = ["Admission"]

_SHORTEST_RETRY, _LONGEST_RETRY = 0.05, 30.0


class Admission:
    """Decides by what waits already, and by the pace at which it is computed."""

    def __init__(
        self, turns: Turns, lock: threading.Lock, threads: int, *, rows: int, num_bytes: int, seconds: float
    ) -> None:
        """Nothing waits.

        Args:
            turns: What waits.
            lock: Guards it.
            threads: How many compute at a time.
            rows, num_bytes, seconds: The most that may wait; seconds are those of all threads together. A caller may
                have one part in n + 1 of them before a request, while n callers have work waiting.
        """
        self.rows, self.num_bytes = Room(rows, "rows are waiting"), Room(num_bytes, "bytes of rows are waiting")
        self._seconds = seconds
        self._turns, self._lock, self._threads = turns, lock, threads

    def take(self, caller: Hashable, num_rows: int, num_bytes: int) -> None:
        """Count rows that are admitted."""
        self.rows.take(caller, num_rows)
        self.num_bytes.take(caller, num_bytes)

    def give_back(self, caller: Hashable, num_rows: int, num_bytes: int) -> None:
        """Count rows that are done, or given up."""
        self.rows.give_back(caller, num_rows)
        self.num_bytes.give_back(caller, num_bytes)

    def seconds_waiting(self) -> float:
        """Seconds until all that waits is computed."""
        with self._lock:
            return self._turns.backlog() / self._threads

    def refusal(self, caller: Hashable, work: Work, num_rows: int, num_bytes: int) -> str | None:
        """Why rows may not be queued now, whatever their deadline, or None if they may."""
        return (
            self.rows.refusal(caller, num_rows)
            or self.num_bytes.refusal(caller, num_bytes)
            or self._too_much(caller, work, num_rows)
        )

    def check(self, caller: Hashable, work: Work, num_rows: int, num_bytes: int, expires: float) -> None:
        """Refuse rows for which there is no room, or no time until they expire, on the clock of ``time.monotonic``.

        Raises:
            Fault: RESOURCE_EXHAUSTED, with the time after which to come back.
        """
        text = self.refusal(caller, work, num_rows, num_bytes)
        if text is None and expires < math.inf:
            text = self._too_late(caller, work, num_rows, expires - time.monotonic())
        if text is not None:
            raise Fault(grpc.StatusCode.RESOURCE_EXHAUSTED, text, retry_after=self._retry_after(caller, work))

    def _too_much(self, caller: Hashable, work: Work, num_rows: int) -> str | None:
        """Why rows would have to wait too long for the caller's own; one that comes first is never refused for that."""
        with self._lock:
            ahead = self._turns.seconds_ahead(caller, work, num_rows) / self._threads
            own = self._turns.pace.seconds(work, num_rows) / self._threads
            callers = max(self._turns.num_callers, 1)
        most = self._seconds / (callers + 1)
        if not ahead or ahead + own <= most:
            return None
        return (
            f"{ahead:.2g} s of this caller's own work come before it, at most {most:.2g} s may while {callers} "
            "have work waiting; send it again later"
        )

    def _too_late(self, caller: Hashable, work: Work, num_rows: int, remaining: float) -> str | None:
        """Why rows that would not be done in time are not begun; what comes first is never refused for that."""
        with self._lock:
            before, own = self._turns.backlog(), self._turns.pace.seconds(work, num_rows)
            if (before + own) / self._threads > remaining:  # else there is no need to look at who comes first
                before = self._turns.seconds_before(caller, work, num_rows)
        if before and (before + own) / self._threads > remaining:
            return f"about {before / self._threads:.2g} s of work come before it, the deadline is in {remaining:.2g} s"
        return None

    def _retry_after(self, caller: Hashable, work: Work) -> float:
        """Seconds until about half of what a caller has to wait for is done."""
        with self._lock:
            own = self._turns.backlog_of(caller)
            before = own + self._turns.seconds_before(caller, work, 0) if own else self._turns.backlog()
        return min(max(0.5 * before / self._threads, _SHORTEST_RETRY), _LONGEST_RETRY)
