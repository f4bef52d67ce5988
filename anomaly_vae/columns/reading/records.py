"""What the cells of an input column are read as; the manifest keeps it, so that scoring reads them as training did."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from anomaly_vae.record import Record

__all__ = [
    "PARTS",
    "CellError",
    "Decimal",
    "Input",
    "LeftOut",
    "NumberReading",
    "Order",
    "Part",
    "Reading",
    "TextReading",
    "TimeReading",
]

Decimal = Literal[".", ","]
Order = Literal["ymd", "dmy", "mdy", "clock"]
Part = Literal["time_of_day", "day_of_week", "day_of_month", "day_of_year", "trend"]
PARTS: tuple[Part, ...] = ("time_of_day", "day_of_week", "day_of_month", "day_of_year", "trend")

_Affix = Annotated[str, Meta(min_length=1, max_length=8)]


class CellError(ValueError):
    """A cell cannot be read; the text says why, as the end of a sentence that begins with the cell."""


class NumberReading(Record, tag="number", tag_field="kind"):
    """Numbers, perhaps written for people: 1,234.50 or 12 %.

    Attributes:
        decimal: The decimal mark.
        thousands: The mark between groups of three digits; empty if there is none.
        affixes: Texts before or after the number that are left out, such as "$".
        truth: Whether "true" and "false" are 1 and 0.
    """

    decimal: Decimal = "."
    thousands: Literal["", ",", ".", " ", "'"] = ""
    affixes: Annotated[tuple[_Affix, ...], Meta(max_length=16)] = ()
    truth: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether the cells are numbers as computers write them."""
        return self == NumberReading()


class TextReading(Record, tag="text", tag_field="kind"):
    """Texts: the names of categories."""


class TimeReading(Record, tag="time", tag_field="kind"):
    """Dates and times of day.

    Attributes:
        order: The order of year, month and day in texts; "clock" for times of day without a date.
        zone: The time zone of the wall clock: a name of the IANA database, "UTC", or an offset such as "+02:00". None
            if the times have no zone.
        parts: What the model learns of a time; each is one column.
    """

    order: Order = "ymd"
    zone: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_+\-/:]{1,64}$")] | None = None
    parts: Annotated[tuple[Part, ...], Meta(max_length=len(PARTS))] = ()


class LeftOut(Record, tag="left out", tag_field="kind"):
    """Cells that are not read.

    Attributes:
        why: The reason, for the user.
    """

    why: str


Reading = NumberReading | TextReading | TimeReading | LeftOut


class Input(Record):
    """One column of the table that the user gives: its name, and how its cells are read."""

    name: str
    reading: Reading

    @property
    def is_read(self) -> bool:
        """Whether the model uses it."""
        return not isinstance(self.reading, LeftOut)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns of the model that it gives."""
        if isinstance(self.reading, LeftOut):
            return ()
        if isinstance(self.reading, TimeReading):
            return tuple(f"{self.name}.{part}" for part in self.reading.parts)
        return (self.name,)
