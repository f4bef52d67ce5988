"""Room in the queue: limited in rows, bytes and seconds of work, shared among callers, within each caller's limits."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Hashable

import grpc

from anomaly_vae.service.call_errors import CallError
from anomaly_vae.service.callers import NO_TOKEN, Caller, Priority
from anomaly_vae.service.queue.caller_limits import CallerLimits
from anomaly_vae.service.queue.fair_scheduler import FairScheduler
from anomaly_vae.service.queue.jobs import SHADOW, BatchKey
from anomaly_vae.service.queue.shared_limit import SharedLimit
from anomaly_vae.service.telemetry.metrics import Metrics

__all__ = ["Admission", "Reservation"]

# Bounds of the delay that a refused caller is given, seconds. Chosen, not measured: a shorter delay brings requests
# back too soon, a longer one leaves the service idle.
_SHORTEST_RETRY, _LONGEST_RETRY = 0.05, 30.0


class Admission:
    """Decides whether rows may be queued. All methods belong to the event loop's thread."""

    def __init__(
        self,
        scheduler: FairScheduler,
        lock: threading.Lock,
        threads: int,
        metrics: Metrics,
        *,
        limit_rows: int,
        limit_bytes: int,
        limit_seconds: float,
        processes: int = 1,
    ) -> None:
        """Start with an empty queue.

        Args:
            scheduler: The waiting jobs.
            lock: Guards the scheduler.
            threads: Number of threads that compute at a time.
            metrics: Where refusals are counted.
            limit_rows, limit_bytes: The most that may be queued or computed.
            limit_seconds: The most seconds of work, of all threads together. While n callers have work waiting, a
                caller may have 1/(n + 1) of it ahead of a new request.
            processes: Among how many processes the limits of each caller are divided.
        """
        self.rows = SharedLimit(limit_rows, "rows are waiting")
        self.num_bytes = SharedLimit(limit_bytes, "bytes of rows are waiting")
        self.callers = CallerLimits(processes)
        self._limit_seconds = limit_seconds
        self._scheduler, self._lock, self._threads = scheduler, lock, threads
        self._metrics = metrics
        self._released = asyncio.Event()

    def seconds_waiting(self) -> float:
        """Return the seconds until all waiting rows are computed."""
        with self._lock:
            return self._scheduler.backlog() / self._threads

    def check(self, reservation: Reservation, expires: float) -> None:
        """Check that the caller may send the rows, and that there is room, and time before ``expires``.

        ``expires`` is on the clock of ``time.monotonic``.

        Raises:
            CallError: RESOURCE_EXHAUSTED, with the delay before a retry.
        """
        refusal = self.callers.refusal(reservation.identity, reservation.num_rows)
        if refusal is not None:
            self._reject(reservation, refusal.reason)
            retry_after = self._retry_after(reservation) if refusal.retry_after is None else refusal.retry_after
            raise CallError(grpc.StatusCode.RESOURCE_EXHAUSTED, refusal.text, retry_after=retry_after)
        self._refuse(reservation, self._no_room(reservation) or self._no_time(reservation, expires))

    def check_work(self, reservation: Reservation, expires: float) -> None:
        """Check that there is time for work on rows that have their room already.

        Raises:
            CallError: RESOURCE_EXHAUSTED, with the delay before a retry.
        """
        self._refuse(reservation, self._too_much_work(reservation) or self._no_time(reservation, expires))

    def _refuse(self, reservation: Reservation, text: str | None) -> None:
        if text is not None:
            self._reject(reservation, "queue_full")
            raise CallError(grpc.StatusCode.RESOURCE_EXHAUSTED, text, retry_after=self._retry_after(reservation))

    def _reject(self, reservation: Reservation, reason: str) -> None:
        """Count a refusal of a request. What a shadow has no time for is counted by its own metrics."""
        if reservation.caller != SHADOW:
            self._metrics.reject(reason)

    async def wait(self, reservation: Reservation) -> None:
        """Wait until there is room, and the caller may send the rows: no more than one request may have."""
        caller, num_rows = reservation.identity, reservation.num_rows
        while True:
            if seconds := self.callers.seconds_until(caller, num_rows):
                await asyncio.sleep(seconds)
            elif self.callers.is_full(caller, num_rows) or self._no_room(reservation):
                self._released.clear()
                await self._released.wait()
            else:
                return

    def take(self, reservation: Reservation) -> None:
        """Count the rows as queued."""
        self.callers.take(reservation.identity, reservation.num_rows)
        if reservation.caller != SHADOW:
            self._metrics.callers.count_rows(reservation.identity, reservation.num_rows)
        self.rows.take(reservation.caller, reservation.num_rows)
        self.num_bytes.take(reservation.caller, reservation.num_bytes)

    def give_back(self, reservation: Reservation) -> None:
        """Count the rows as gone, and wake the requests that wait for room."""
        self.callers.give_back(reservation.identity, reservation.num_rows)
        self.rows.give_back(reservation.caller, reservation.num_rows)
        self.num_bytes.give_back(reservation.caller, reservation.num_bytes)
        self._released.set()

    def _no_room(self, reservation: Reservation) -> str | None:
        """Return why the rows may not be queued now, whatever their deadline, or None if they may."""
        return (
            self.rows.refusal(reservation.caller, reservation.num_rows)
            or self.num_bytes.refusal(reservation.caller, reservation.num_bytes)
            or self._too_much_work(reservation)
        )

    def _too_much_work(self, reservation: Reservation) -> str | None:
        """Return why the caller's own work ahead is too much, or None. A caller without work ahead is never refused."""
        with self._lock:
            own = self._own_seconds(reservation)
            ahead = self._scheduler.own_seconds_ahead(reservation.account, own, reservation.priority) / self._threads
            own /= self._threads
            num_callers = max(self._scheduler.num_callers, 1)
        most = self._limit_seconds / (num_callers + 1)
        if not ahead or ahead + own <= most:
            return None
        return (
            f"{ahead:.2g} s of this caller's own work come before it, at most {most:.2g} s may "
            f"(callers with work waiting: {num_callers}); send it again later"
        )

    def _own_seconds(self, reservation: Reservation) -> float:
        """Return the seconds that one thread needs for the rows, and for the work on all of them that follows."""
        keys = [key for key in (reservation.key, reservation.then) if key is not None]
        return sum(self._scheduler.costs.seconds(key.cost, reservation.num_rows) for key in keys)

    def _seconds_ahead(self, reservation: Reservation, seconds: float) -> float:
        """Return the seconds of one thread before rows that take this long. The lock must be held."""
        free = 1.0
        if reservation.priority is Priority.BATCH:
            free = max(1.0 - self._scheduler.online_load(time.monotonic()) / self._threads, 0.0)
        return self._scheduler.seconds_ahead(reservation.account, seconds, reservation.priority, free)

    def _no_time(self, reservation: Reservation, expires: float) -> str | None:
        """Return why the rows cannot be computed before the deadline, or None. Without work ahead, return None."""
        if expires == math.inf:
            return None
        remaining = expires - time.monotonic()
        with self._lock:
            ahead, own = self._scheduler.backlog(), self._own_seconds(reservation)
            is_batch = reservation.priority is Priority.BATCH  # it may have to wait for more than what waits now
            if is_batch or (ahead + own) / self._threads > remaining:  # only then is the exact value worth its time
                ahead = self._seconds_ahead(reservation, own)
        if ahead and (ahead + own) / self._threads > remaining:
            return f"about {ahead / self._threads:.2g} s of work come before it, the deadline is in {remaining:.2g} s"
        return None

    def _retry_after(self, reservation: Reservation) -> float:
        """Return the seconds until about half of the work ahead of the caller is done."""
        with self._lock:
            own = self._scheduler.backlog_of(reservation.account, reservation.priority)
            ahead = own + self._seconds_ahead(reservation, 0.0) if own else self._scheduler.backlog()
        return min(max(0.5 * ahead / self._threads, _SHORTEST_RETRY), _LONGEST_RETRY)


class Reservation:
    """Room in the queue for the rows of one request. The end of the ``with`` block gives it back.

    Attributes:
        key: The model and the options.
        caller: Whose rows they are.
        identity: What the caller may do.
        num_rows, num_bytes: The size of the rows.
        then: Work on all of the rows that follows: to explain them.
        is_taken: Whether the room is taken.
    """

    def __init__(
        self,
        admission: Admission,
        key: BatchKey,
        num_rows: int,
        num_bytes: int,
        caller: Hashable = None,
        identity: Caller = NO_TOKEN,
    ) -> None:
        """Take nothing yet."""
        self._admission = admission
        self.key, self.caller, self.identity = key, caller, identity
        self.num_rows, self.num_bytes = num_rows, num_bytes
        self.then: BatchKey | None = None
        self.is_taken = False

    @property
    def priority(self) -> Priority:
        """The class of the caller."""
        return self.identity.priority

    @property
    def account(self) -> Hashable:
        """Whose compute time it is: a caller has an account for each model, so that one does not delay another."""
        return self.caller, self.key.served.name

    def __enter__(self) -> Reservation:
        """Take nothing yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give the room back if it was taken."""
        if self.is_taken:
            self.is_taken = False
            self._admission.give_back(self)

    def take(self, expires: float = math.inf) -> None:
        """Take the room now.

        Args:
            expires: When the caller stops waiting, seconds on the clock of ``time.monotonic``.

        Raises:
            CallError: RESOURCE_EXHAUSTED above the caller's limits, without room, or without enough time; with the
                delay before a retry.
        """
        self._admission.check(self, expires)
        self._take()

    async def wait(self) -> None:
        """Take the room as soon as there is some."""
        await self._admission.wait(self)
        self._take()

    def _take(self) -> None:
        self._admission.take(self)
        self.is_taken = True
