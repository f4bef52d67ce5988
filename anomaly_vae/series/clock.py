"""Times as seconds since 1970 and back, and the step between two of them."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.reading.records import Order, TimeReading
from anomaly_vae.columns.reading.times import parse_time
from anomaly_vae.errors import InvalidInput

__all__ = ["epoch_seconds", "shown_step", "shown_time", "step_of", "steps_between", "to_seconds"]

# Two differences with a ratio of up to 4/3 count as the same step: months have 28 to 31 days, and times may be a little
# late or early. Chosen, not measured; the next multiple has the ratio 2.
_SAME_STEP = 4 / 3

# The part of the differences whose median is the step: up to 40 % from the middle of the densest range, which excludes
# two steps.
_AROUND = 0.4

# Decimals of a step in seconds: times since 1970 in float64 are multiples of 2.4e-7 s.
_DECIMALS = 6

# Numbers from here on are milliseconds, microseconds and nanoseconds since 1970: as seconds the first is the year 5138,
# and as milliseconds it is 1973.
_UNITS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))

# The range of seconds that messages show as a date: 1973 to 5138. Other numbers may count anything.
_FIRST_SHOWN, _LAST_SHOWN = 1e8, 1e11

_MICROS_PER_SECOND = 1e6
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STEP_UNITS = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))


def steps_between(earlier: float, later: float, step_seconds: float) -> int:
    """Return the number of steps from one time of a series to a later one, rounded; 0 if both are in the same step.

    The steps follow from the difference of neighbouring times alone, never from a grid that the first time fixes. So a
    clock that drifts, days of 23 and 25 hours and months of 28 to 31 days all give the next step, and a series that is
    pushed time by time gives the same steps as a table.
    """
    return int(np.rint((later - earlier) / step_seconds))


def step_of(times: FloatArray) -> float | None:
    """Return the most common difference between neighbouring times (n,), sorted; None with fewer than two.

    Differences with a ratio of up to 4/3 count as one, and the step is their median: with jitter, no two may be equal.
    Of equally common ones it is the smallest.
    """
    gaps = np.sort(np.diff(times))
    gaps = gaps[gaps > 0]
    if not len(gaps):
        return None
    last = np.searchsorted(gaps, gaps * _SAME_STEP, side="right")
    first = int(np.argmax(last - np.arange(len(gaps))))
    middle = np.median(gaps[first : last[first]])  # too large if the densest range is not around the step
    step = float(np.median(gaps[np.abs(gaps - middle) <= _AROUND * middle]))
    return round(step, _DECIMALS) or step


def epoch_seconds(values: FloatArray) -> FloatArray:
    """Return numbers (N,) that are times as seconds: milliseconds, microseconds and nanoseconds since 1970 are found.

    Smaller numbers stay as they are. They may count anything, such as rows or hours.
    """
    seconds = values.astype(np.float64)
    with np.errstate(invalid="ignore"):
        for least, per_second in _UNITS:
            seconds = np.where(np.abs(values) >= least, values / per_second, seconds)
            values = np.where(np.abs(values) >= least, 0.0, values)
    return seconds


def to_seconds(timestamp: Any, order: Order = "ymd") -> float:
    """Return one time as seconds: since 1970 in UTC, or of the wall clock if it has no time zone.

    Args:
        timestamp: A datetime (also of pandas or numpy), a date, a text such as "2024-01-31 13:45:00Z", or a number as
            for :func:`epoch_seconds`.
        order: The order of year, month and day in texts.

    Raises:
        InvalidInput: It is none of these, or missing.
    """
    if isinstance(timestamp, np.datetime64):
        timestamp = timestamp.astype("datetime64[us]").item()  # None for NaT
    if isinstance(timestamp, datetime) and timestamp == timestamp:  # pandas has a NaT that is a datetime
        moment = timestamp if timestamp.tzinfo is not None else timestamp.replace(tzinfo=UTC)
        return (moment - _EPOCH) / timedelta(seconds=1)
    if isinstance(timestamp, date) and timestamp == timestamp:
        return float((timestamp - _EPOCH.date()).days * 86_400)
    if isinstance(timestamp, str):
        try:
            return parse_time(timestamp, TimeReading(order=order, zone="UTC")) / _MICROS_PER_SECOND
        except ValueError:
            pass
    if isinstance(timestamp, numbers.Real) and not isinstance(timestamp, (bool, np.bool_)):
        value = float(timestamp)
        if math.isfinite(value):
            return float(epoch_seconds(np.array([value]))[0])
    found = repr(timestamp)[:40]
    raise InvalidInput(
        f"timestamp: {found} is no time; give a datetime, a text such as '2024-01-31 13:45:00', or seconds since 1970",
        field="timestamp",
    )


def shown_time(seconds: float) -> str:
    """Return a time for messages: a date if the number can be one, otherwise the number."""
    if not _FIRST_SHOWN <= seconds < _LAST_SHOWN:
        return f"{seconds:.12g}"
    moment = _EPOCH + timedelta(seconds=seconds)
    return moment.replace(tzinfo=None).isoformat(sep=" ", timespec="auto" if moment.microsecond else "seconds")


def shown_step(seconds: float) -> str:
    """Return a step for messages, such as "60 s", "1 min" or "1 d", in the largest unit that gives a whole number."""
    for size, unit in _STEP_UNITS:
        if seconds >= size and (seconds / size).is_integer():
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.7g} s"


def median_step(steps: Sequence[float]) -> float:
    """Return the step of most series: the lower median, which one of them has."""
    return sorted(steps)[(len(steps) - 1) // 2]
