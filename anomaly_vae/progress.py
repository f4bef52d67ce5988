"""How a long job reports how far it is: the time that is left, and when a plain line is due. No output of its own."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

__all__ = ["Clock", "Pace", "TimeLeft", "spoken"]

# Seconds since some moment, such as ``time.monotonic``.
Clock = Callable[[], float]

# Seconds before the first plain line, and between two of them: a job that is shorter prints none.
_LEAST_SECONDS = 30.0
# Seconds after which a line is due even if no quarter of the work was passed.
_MOST_SECONDS = 300.0
_QUARTERS = 4

# The speed is measured over the last minute, or the last half of the job so far if that is longer: anomalies take
# several times as long as normal rows and come in runs. Shorter windows made the estimate jump.
_LEAST_WINDOW_S, _WINDOW_SHARE = 60.0, 0.5
# From this many points on, the first step counts no more: it has the costs of a start, such as reading rows ahead and
# filling caches. Measured in `score`: 0.25 s, when 1,024 more rows take 0.1 s.
_WARM_UP_POINTS = 3


class Pace:
    """Says when a plain line is due on a standard error that is not a terminal, such as a log file.

    The first line is due after 30 seconds. From then on a line is due at 25, 50 and 75 % of the work, and after 5
    minutes without one, but at most one every 30 seconds. A job that takes less than 30 seconds prints nothing.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        """Start now."""
        self._clock = clock
        self._last, self._quarter, self._printed = clock(), 0, False

    def is_due(self, done: float, total: float | None) -> bool:
        """Return whether to print a line now, and remember that it was printed.

        Args:
            done: Work done.
            total: All work, in the same unit; None if it is not known.
        """
        waited = self._clock() - self._last
        if waited < _LEAST_SECONDS:
            return False
        quarter = min(int(_QUARTERS * done / total), _QUARTERS - 1) if total else 0  # no line at the end
        if self._printed and waited < _MOST_SECONDS and quarter <= self._quarter:
            return False
        self._last, self._quarter, self._printed = self._clock(), quarter, True
        return True


class TimeLeft:
    """Estimates the seconds until a job ends, from the work done so far."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        """Start now, with no work done."""
        self._clock = clock
        self._start = clock()
        self._points = deque([(self._start, 0.0)])
        self._is_first = True  # whether the first point is the start
        self._total: float | None = None

    def update(self, done: float, total: float | None) -> None:
        """Note the work done until now.

        Args:
            done: Work done.
            total: All work, in the same unit; None if it is not known.
        """
        now = self._clock()
        self._total = total
        if done <= self._points[-1][1]:
            return
        self._points.append((now, done))
        if self._is_first and len(self._points) > _WARM_UP_POINTS:
            self._points.popleft()
            self._is_first = False
        oldest = now - max(_LEAST_WINDOW_S, _WINDOW_SHARE * (now - self._start))
        while len(self._points) > 2 and self._points[1][0] <= oldest:
            self._points.popleft()

    def per_second(self) -> float | None:
        """Return the work done in a second, over the same time as :meth:`seconds`; None before the first work."""
        (start, before), (end, done) = self._points[0], self._points[-1]
        return (done - before) / (end - start) if done > before and end > start else None

    def seconds(self) -> float | None:
        """Return the seconds that are left from now on; None before the first work is done, or without a total."""
        (start, before), (end, done) = self._points[0], self._points[-1]
        if self._total is None or done <= before or end <= start:
            return None
        left = (self._total - done) * (end - start) / (done - before)
        return max(0.0, left - (self._clock() - end))


def spoken(seconds: float) -> str:
    """Return a time as people say it: "about 40 s", "about 3 min", "about 2 h 10 min"."""
    if seconds < 60:
        return f"about {max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"about {minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"about {hours} h {minutes} min"
