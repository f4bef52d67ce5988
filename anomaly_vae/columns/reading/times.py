"""Dates and times: texts to the microseconds of a wall clock, and their parts, such as the time of day."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.reading.records import CellError, Order, Part, TimeReading
from anomaly_vae.errors import InvalidInput

__all__ = ["PERIODS", "in_zone", "is_zone_name", "learnable_parts", "parse_time", "parts_of", "time_format"]

# The length of the cycle of each part, in its unit: hours, days of the week from Monday (0), days of the month from 1,
# days of the year from 1. The trend, days since 1970, has none.
PERIODS: Mapping[Part, float] = {"time_of_day": 24.0, "day_of_week": 7.0, "day_of_month": 31.0, "day_of_year": 365.25}

# Cycles of which the training rows must have seen something, so that a part can be learned. Chosen, not measured: with
# one or two, the next day would look unlike all days before.
_LEAST_CYCLES = 3

# The share of the cells that must be times. Chosen, not measured, as for numbers.
_LEAST_SHARE = 0.9

_MICROS_PER_HOUR, _MICROS_PER_DAY = 3_600_000_000, 86_400_000_000
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
# The range of Python's dates, less one day, which the offset of a time zone may take.
_EARLIEST = (date.min.toordinal() + 1 - _EPOCH_ORDINAL) * _MICROS_PER_DAY
_LATEST = (date.max.toordinal() - _EPOCH_ORDINAL) * _MICROS_PER_DAY
# Transitions of time zones lie on multiples of 15 minutes.
_MICROS_PER_QUARTER = _MICROS_PER_HOUR // 4
_CLOCK = r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?"
_HALF = r"(?:\s?(?P<half>[AaPp]\.?[Mm]\.?))?"
_ZONE = r"(?:\s?(?P<zone>Z|z|UTC|GMT|[+-]\d{2}:?\d{2}(?::\d{2})?|[+-]\d{2}))?"
_TIME = re.compile(
    rf"^(?P<a>\d{{1,4}})(?P<mark>[-/.])(?P<b>\d{{1,2}})(?P=mark)(?P<c>\d{{1,4}})(?:[T ]+{_CLOCK}{_HALF}{_ZONE})?$"
)
_CLOCK_ONLY = re.compile(rf"^{_CLOCK}{_HALF}$")
_OFFSET = re.compile(r"[+-][0-9]{2}:[0-9]{2}")
# Dates that are not read: with names of months, years of two digits, or without a day.
_OTHER_DATE = re.compile(
    r"^(?:[a-z]{3,9},? )?(?:\d{1,4}(?:st|nd|rd|th)?[ ./-])?(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
    r"[ .,/'-]+\d{1,4}(?!\d)|^\d{1,2}(?P<mark>[/-])\d{1,2}(?P=mark)\d{2}(?!\d)|^\d{2}\.\d{2}\.\d{2}$"
    r"|^\d{4}-(?:0[1-9]|1[0-2])$|^\d{4}-?W\d{2}$",
    re.IGNORECASE,
)
_YEAR = re.compile(r"\d{4}")
_ORDERS: Mapping[Order, str] = {"ymd": "abc", "dmy": "cba", "mdy": "cab"}


def parse_time(text: str, reading: TimeReading) -> int:
    """Return the time in a cell: microseconds of the wall clock in the zone of the reading, since 1970.

    Raises:
        CellError: The time has a zone, and training had none.
        ValueError: The cell holds no such time.
    """
    micros, offset = _parse(text.strip(), reading.order)
    if offset is None:
        return micros
    if reading.zone is None:
        raise CellError("has a time zone, the training table had none")
    if not _EARLIEST <= micros - offset <= _LATEST:
        raise CellError("lies outside the years 1 to 9999 in UTC")
    return int(in_zone(np.array([micros - offset]), reading.zone)[0])


def time_format(texts: Mapping[str, int]) -> TimeReading | str | None:
    """Return how most cells are to be read as times, or a text that says why that is open; None if they are no times.

    Dates in forms that are not read are no categories: those of the next day would all be new.

    Day and month of 03/04/2024 follow from other cells. Times with offsets keep the offset if it is always the same;
    otherwise they are read in UTC.
    """
    total, fits = sum(texts.values()), {}
    for order in (*_ORDERS, "clock"):
        parsed = [found for text in texts if (found := _try(text, order)) is not None]
        if parsed and sum(n for text, n in texts.items() if _try(text, order) is not None) >= _LEAST_SHARE * total:
            fits[order] = (len(parsed), {offset for _, offset in parsed})
    if not fits:
        return _unread_dates(texts, _LEAST_SHARE * total)
    most = max(count for count, _ in fits.values())
    best = [order for order, (count, _) in fits.items() if count == most]
    if len(best) > 1 and all("." in text[:3] for text in texts):
        best = ["dmy"]  # with points, the day comes first everywhere
    if len(best) > 1:
        example = next(iter(texts))
        return f"holds dates such as {example!r}, which may be day/month or month/day (write them as YYYY-MM-DD)"
    offsets = fits[best[0]][1]
    if None in offsets and len(offsets) > 1:
        return "holds times of which some have a time zone and others have none (write all of them in one way)"
    return TimeReading(order=best[0], zone=_zone_of(offsets))


def _unread_dates(texts: Mapping[str, int], least: float) -> str | None:
    """Return that the cells are dates in a form that is not read, or in several forms, if at least so many are."""
    others = [text for text in texts if _OTHER_DATE.match(text)]
    dates = [text for text in texts if _TIME.match(text) and _YEAR.search(text)]
    if sum(texts[each] for each in (*others, *dates)) < max(least, 1):
        return None
    form = "a form that is not read" if others else "in several forms"
    return f"holds dates such as {(others or dates)[0]!r}, {form} (write them as YYYY-MM-DD)"


def in_zone(utc: NDArray[np.int64], zone: str) -> NDArray[np.int64]:
    """Return the wall clock of a zone at times (N,) in UTC, microseconds since 1970.

    Raises:
        InvalidInput: There is no such zone in the machine's database.
    """
    rules = _zone(zone)
    if len(utc) and not (utc.min() >= _EARLIEST and utc.max() <= _LATEST):
        raise InvalidInput("a time lies outside the years 1 to 9999")
    quarters, inverse = np.unique(utc // _MICROS_PER_QUARTER, return_inverse=True)
    offsets = [_offset_at(rules, int(quarter)) for quarter in quarters]
    return utc + np.array(offsets, dtype=np.int64)[inverse] if len(utc) else utc


def is_zone_name(zone: str) -> bool:
    """Return whether a text is an offset such as "+02:00", or could be the name of a time zone."""
    try:
        return zone[:1] not in ("+", "-") or (_OFFSET.fullmatch(zone) is not None and _offset(zone) is not None)
    except ValueError:
        return False


def parts_of(wall: FloatArray, parts: Sequence[Part]) -> FloatArray:
    """Return parts of times, (N,) -> (N, P): hours, days, see PERIODS; NaN for NaN.

    Args:
        wall: Microseconds of a wall clock since 1970; whole numbers, which float64 represents until the year 2255.
        parts: Which parts.
    """
    known = ~np.isnan(wall)
    micros = np.where(known, wall, 0.0).astype(np.int64)
    days = micros // _MICROS_PER_DAY
    dates = days.astype("datetime64[D]")
    found = np.full((len(wall), len(parts)), np.nan)
    values: Mapping[Part, NDArray[Any]] = {
        "time_of_day": (micros - days * _MICROS_PER_DAY) / _MICROS_PER_HOUR,
        "day_of_week": (days + 3) % 7,  # 1970-01-01 was a Thursday
        "day_of_month": (dates - dates.astype("datetime64[M]")).astype(np.int64) + 1,
        "day_of_year": (dates - dates.astype("datetime64[Y]")).astype(np.int64) + 1,
        "trend": micros / _MICROS_PER_DAY,
    }
    for p, part in enumerate(parts):
        found[known, p] = values[part][known]
    return found


def learnable_parts(wall: FloatArray, *, is_clock: bool = False) -> tuple[Part, ...]:
    """Return the parts of times (N,) that vary, and of which there are several cycles.

    Args:
        wall: As for :func:`parts_of`, without NaN.
        is_clock: Whether the times have no date.
    """
    if is_clock:
        return ("time_of_day",) if len(np.unique(wall)) > 1 else ()
    days = wall.astype(np.int64) // _MICROS_PER_DAY
    dates = days.astype("datetime64[D]")
    cycles: Mapping[Part, NDArray[np.int64]] = {
        "time_of_day": days,
        "day_of_week": (days + 3) // 7,
        "day_of_month": dates.astype("datetime64[M]").astype(np.int64),
        "day_of_year": dates.astype("datetime64[Y]").astype(np.int64),
    }
    values = parts_of(wall, tuple(cycles))
    return tuple(
        part
        for p, (part, cycle) in enumerate(cycles.items())
        if len(np.unique(cycle)) >= _LEAST_CYCLES and len(np.unique(values[:, p])) > 1
    )


def _try(text: str, order: Order) -> tuple[int, int | None] | None:
    try:
        return _parse(text.strip(), order)
    except ValueError:
        return None


def _parse(text: str, order: Order) -> tuple[int, int | None]:
    """Return the microseconds of the wall clock, and those of its offset from UTC, None without an offset."""
    found = (_CLOCK_ONLY if order == "clock" else _TIME).match(text)
    if found is None:
        raise ValueError
    micros = 0 if found["hour"] is None else _clock(found)
    if order == "clock":
        return micros, None
    year, month, day = (found[group] for group in _ORDERS[order])
    if len(year) != 4:
        raise ValueError
    micros += (date(int(year), int(month), int(day)).toordinal() - _EPOCH_ORDINAL) * _MICROS_PER_DAY
    return micros, None if found["zone"] is None else _offset(found["zone"])


def _clock(found: re.Match[str]) -> int:
    hour, minute, second = (int(found[name] or 0) for name in ("hour", "minute", "second"))
    if found["half"] is not None:
        if not 1 <= hour <= 12:
            raise ValueError
        hour = hour % 12 + (12 if found["half"][0] in "pP" else 0)
    if hour > 23 or minute > 59 or second > 59:
        raise ValueError
    fraction = int((found["fraction"] or "0")[:6].ljust(6, "0"))
    return ((hour * 60 + minute) * 60 + second) * 1_000_000 + fraction


def _offset(text: str) -> int:
    if text in ("Z", "z", "UTC", "GMT"):
        return 0
    digits = text[1:].replace(":", "").ljust(4, "0")
    size = int(digits[:2]) * _MICROS_PER_HOUR + int(digits[2:4]) * _MICROS_PER_HOUR // 60
    if size >= _MICROS_PER_DAY:
        raise ValueError
    return -size if text[0] == "-" else size


def _zone_of(offsets: set[int | None]) -> str | None:
    if offsets == {None}:
        return None
    if len(offsets) > 1 or offsets == {0}:
        return "UTC"
    (offset,) = offsets
    minutes = (offset or 0) // (_MICROS_PER_HOUR // 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


@functools.lru_cache(maxsize=64)
def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        return timezone(timedelta(microseconds=_offset(name))) if name[0] in "+-" else ZoneInfo(name)
    except (ValueError, OSError, LookupError) as error:
        raise InvalidInput(
            f"there is no time zone {name!r} on this machine; install the package tzdata (pip install tzdata)"
        ) from error


@functools.lru_cache(maxsize=65_536)
def _offset_at(rules: tzinfo, quarter: int) -> int:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=quarter * _MICROS_PER_QUARTER)
    offset = moment.astimezone(rules).utcoffset()
    return 0 if offset is None else offset // timedelta(microseconds=1)
