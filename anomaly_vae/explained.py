"""Why a row is an anomaly: which cells are surprising given the others, and what was expected there instead."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

__all__ = ["Why", "clock", "is_time_of_day"]

# Digits of numbers in texts, relative to the range that was expected. Chosen: more would be noise.
_DIGITS = 2

# Width of a range from which on its ends are rounded, to three digits of it. Chosen: whole numbers below stay as they
# are.
_WIDE = 1000.0

# How names of times of day end; their unit is hours.
_TIME_OF_DAY = ".time_of_day"

# Nats from which on a text has no decimals.
_WHOLE_NATS = 100.0

# Levels that a text names.
_NAMED_LEVELS = 2

# Columns with a common surprise that a text names.
_NAMED_TOGETHER = 3


class Why(Struct, frozen=True, kw_only=True):
    """How surprising one cell is, given the others. Fields are attributes, and also ``why["nats"]``; ``dict(why)``.

    Attributes:
        column: The column of the model. For windows some steps of a channel, as ``flow[-7..0]``, where 0 is the last
            step of the window; for images a rectangle, as ``y4..7 x0..3``.
        value: The value of the cell, in data units; a text for a column of text, None for one that training never had.
            For windows and images the value of the cell that is the most surprising of them.
        nats: The conditional surprise -log p(x_d | x_rest), nats in data units. It may be negative: it
            depends on the units of the column.
        std_error: Its standard error, nats.
        excess: ``nats`` above the surprise that a value from the model would have here on average, nats. It does not
            depend on units, so it orders the columns: the largest is to blame most.
        low, middle, high: 5 %, 50 % and 95 % quantile of p(x_d | x_rest), data units; None for levels. On
            a circle, as times of day are, the range may cross the end of the period: then high is below low.
        levels: The likeliest levels of a text or of 0/1 with their probabilities, likeliest first; None for numbers.
        p_value_without: The p-value that the row would have if this cell were missing; None if there is none.
        together: Columns that share the surprise: without one of them, this column is as expected, or only then it is
            surprising. Values are strange together, or one is wrong and the other pays for it: the order says which.
        is_novel: Whether training never had such a value.
        cell: For windows and images, the name of the most surprising cell; otherwise None.
    """

    column: str
    value: float | str | None
    nats: float
    std_error: float
    excess: float
    low: float | None = None
    middle: float | None = None
    high: float | None = None
    levels: tuple[tuple[str, float], ...] | None = None
    p_value_without: float | None = None
    together: tuple[str, ...] = ()
    is_novel: bool = False
    cell: str | None = None

    def __getitem__(self, name: str) -> Any:
        if name not in self.__struct_fields__:
            raise KeyError(name)
        return getattr(self, name)

    def keys(self) -> tuple[str, ...]:
        """Return the names of the fields."""
        return self.__struct_fields__

    def __iter__(self) -> Iterator[str]:
        return iter(self.__struct_fields__)

    @property
    def text(self) -> str:
        """The surprise in a sentence, such as "amount 12000: expected 80 to 140 given the rest (41 nats)"."""
        place = self.column if self.cell in (None, self.column) else f"{self.column}, at {self.cell}"
        others = len(self.together) - _NAMED_TOGETHER
        more = f" and {others} more" if others > 0 else ""
        also = f", together with {', '.join(self.together[:_NAMED_TOGETHER])}{more}" if self.together else ""
        size = f"{self.excess:.0f}" if abs(self.excess) >= _WHOLE_NATS else f"{self.excess:.3g}"
        return f"{place} {self.found}: expected {self.expected} given the rest ({size} nats{also})"

    @property
    def found(self) -> str:
        """The value as a text: "12000", "'Rome' (never in training)"."""
        if self.value is None:
            return "has a value that training never had"
        found = repr(self.value) if isinstance(self.value, str) else self._shown(self.value)
        return f"{found} (never in training)" if self.is_novel else found

    @property
    def expected(self) -> str:
        """What was expected instead, as a text: "80 to 140", "'Oslo' (90%) or 'Rome' (9%)"."""
        if self.levels is not None:
            named = [f"{name!r} ({share:.0%})" for name, share in self.levels[:_NAMED_LEVELS]]
            return " or ".join(named)
        if self.low is None or self.high is None:
            return "another value"
        low, high = (self._shown(value, is_end=True) for value in (self.low, self.high))
        return low if low == high else f"{low} to {high}"

    def _shown(self, value: float, *, is_end: bool = False) -> str:
        """Return a value of the column, or an end of what was expected, as a text."""
        if is_time_of_day(self.column):
            return clock(value)
        width = 0.0 if self.low is None or self.high is None else abs(self.high - self.low)
        if is_end and width >= _WIDE:
            value = round(value, _DIGITS - _magnitude(width))
        return _number(value, width, _DIGITS + 1 if is_end else 6)


def is_time_of_day(column: str) -> bool:
    """Return whether a column of a model holds times of day, hours."""
    return column.endswith(_TIME_OF_DAY)


def clock(hours: float) -> str:
    """Return a time of day, hours, as a clock shows it: "13:05"."""
    minutes = round(60.0 * hours) % (24 * 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def _number(value: float, width: float, digits: int) -> str:
    """Return a number as a text, with as many decimals as a range of this width needs.

    Args:
        value: The number.
        width: Of the range; 0 if there is none.
        digits: Significant ones of numbers that are too small or too large for decimals.
    """
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    if width <= 0.0:
        return f"{value:.6g}"
    decimals = max(0, _DIGITS - 1 - _magnitude(width))
    if decimals > 6 or abs(value) >= 1e15:
        return f"{value:.{digits}g}"
    return f"{round(value, decimals) + 0.0:.{decimals}f}"  # + 0.0: no "-0.0"


def _magnitude(value: float) -> int:
    """Return the power of ten of the first digit."""
    return int(f"{value:e}".partition("e")[2])
