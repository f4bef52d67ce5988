"""What the token file allows each caller: rows in a second, and rows that are not answered yet."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from anomaly_vae.service.callers import Caller

__all__ = ["CallerLimits", "Refusal"]

# Seconds of a caller's rate that it may save up and then send at once. Chosen, not measured: a longer time allows
# larger bursts, a shorter one refuses callers that keep their rate over a second.
_BURST_S = 1.0


class Refusal(NamedTuple):
    """Why rows are refused.

    Attributes:
        reason: For the metrics.
        text: For the caller.
        retry_after: Seconds until they would be admitted, in whole milliseconds; None if nobody can know.
    """

    reason: str
    text: str
    retry_after: float | None


class _Bucket(NamedTuple):
    """Rows that a caller may send, at a time in seconds: negative after a request of more rows than it had."""

    rows: float
    at: float


class CallerLimits:
    """Counts rows by the name of the token, over all connections. All methods belong to the event loop's thread.

    Rows in a second are a token bucket that holds the rows of one second. A request needs as many rows as it has, or a
    full bucket if it has more, and takes all of its rows: the bucket may be in debt afterwards. So every request is
    possible, and in the long run the rate is kept. In the same way, a caller without outstanding rows may send a
    request of any size.
    """

    def __init__(self, processes: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with full buckets.

        Args:
            processes: Each of them allows an equal part, so that all together keep the limits.
            clock: Seconds that never go back.
        """
        self._processes, self._clock = processes, clock
        self._buckets: dict[str, _Bucket] = {}
        self._outstanding: Counter[str] = Counter()

    def outstanding(self) -> dict[str, int]:
        """Return the admitted and not answered rows by the caller's name. Any thread may call it."""
        return dict(self._outstanding)

    def refusal(self, caller: Caller, num_rows: int) -> Refusal | None:
        """Return why a caller may not send these rows now, or None if it may."""
        seconds = self.seconds_until(caller, num_rows)
        if seconds:
            rate = f"{self._share(caller.rows_per_second):g} rows/s"
            text = f"this caller may send {rate}; send the {num_rows} rows again in {seconds:g} s"
            return Refusal("rows_per_second", text, seconds)
        if self.is_full(caller, num_rows):
            held, most = self._outstanding[caller.name], self._share(caller.outstanding_rows)
            text = f"{held} rows of this caller are not answered yet, at most {most:g} may be; wait for their answers"
            return Refusal("outstanding_rows", text, None)
        return None

    def seconds_until(self, caller: Caller, num_rows: int) -> float:
        """Return the seconds until the caller's rate allows these rows, in whole milliseconds, rounded up."""
        if caller.rows_per_second is None:
            return 0.0
        missing = min(num_rows, self._capacity(caller)) - self._filled(caller).rows
        return max(math.ceil(1e3 * missing / self._share(caller.rows_per_second) - 1e-6), 0) / 1e3

    def is_full(self, caller: Caller, num_rows: int) -> bool:
        """Return whether the caller has outstanding rows, and would have too many with these."""
        held = self._outstanding[caller.name]
        return caller.outstanding_rows is not None and 0 < held > self._share(caller.outstanding_rows) - num_rows

    def take(self, caller: Caller, num_rows: int) -> None:
        """Count rows as admitted, without a check."""
        self._outstanding[caller.name] += num_rows
        if caller.rows_per_second is not None:
            bucket = self._filled(caller)
            self._buckets[caller.name] = bucket._replace(rows=bucket.rows - num_rows)

    def give_back(self, caller: Caller, num_rows: int) -> None:
        """Count rows as answered."""
        self._outstanding[caller.name] -= num_rows
        if self._outstanding[caller.name] <= 0:
            del self._outstanding[caller.name]

    def _share(self, limit: int | None) -> float:
        """Return the part of a limit that this process allows."""
        return math.inf if limit is None else limit / self._processes

    def _capacity(self, caller: Caller) -> float:
        return max(_BURST_S * self._share(caller.rows_per_second), 1.0)

    def _filled(self, caller: Caller) -> _Bucket:
        """Return the bucket as it is now."""
        now, capacity = self._clock(), self._capacity(caller)
        last = self._buckets.get(caller.name, _Bucket(capacity, now))
        return _Bucket(min(last.rows + self._share(caller.rows_per_second) * (now - last.at), capacity), now)
