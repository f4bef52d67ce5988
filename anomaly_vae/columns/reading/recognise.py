"""Recognise what a column holds, from its type or from its first cells."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from anomaly_vae.columns.reading.missing import Markers
from anomaly_vae.columns.reading.numbers import as_python, decimal_evidence, is_rounded, number_format
from anomaly_vae.columns.reading.records import (
    PARTS,
    Decimal,
    LeftOut,
    NumberReading,
    Part,
    Reading,
    TextReading,
    TimeReading,
)
from anomaly_vae.columns.reading.times import time_format

__all__ = ["ROWS_TO_RECOGNISE", "Recognised", "Sample", "count_texts", "decimal_of", "recognise"]

# Rows that decide what a column of texts holds, as documented. More rows decide more reliably, but are held in memory.
ROWS_TO_RECOGNISE = 10_000

# The share of the cells that must be plain numbers. Chosen, not measured: a text among them makes its row faulty, and
# a column with more texts than numbers holds texts.
_LEAST_PLAIN = 0.5

_LEADING_ZERO = re.compile(r"^[+-]?0[0-9]+$")
_DIGITS = re.compile(r"^[+-]?[0-9]+$")
# Characters of a cell, and of the name of a type, in messages.
_SHOWN, _SHOWN_TYPE = 30, 80
_TOO_LARGE = "holds whole numbers beyond 2^53, which float64 would round: read as categories"

Form = Literal["number", "truth", "time", "category", "text", "unusable"]


class Sample(NamedTuple):
    """What is known of a column before its cells are read.

    Attributes:
        form: "number", "truth" (values), "time" and "category" by its type; "text" if the cells must show it;
            "unusable" if no cell can be used.
        described: The type in words, such as "int64"; for "unusable" what the column holds.
        texts: The first cells that are not missing, with their counts, for "text".
        zone: The time zone of the type, for "time".
        is_rounded: Whether float64 would round one of the first cells, for "number".
        decimal: The decimal mark of numbers that were texts in the file, if they show it.
    """

    form: Form
    described: str
    texts: Mapping[str, int] = {}
    zone: str | None = None
    is_rounded: bool = False
    decimal: Decimal | None = None


class Recognised(NamedTuple):
    """How a column is read.

    Attributes:
        reading: The reading.
        note: What the user should know about it, as the end of a sentence; None for nothing.
        can_be_numbers: Whether the user can have the column read as numbers.
        taken_for: What a column that is left out seems to be, in words that hold none of its cells.
    """

    reading: Reading
    note: str | None = None
    can_be_numbers: bool = False
    taken_for: str = "text"


def count_texts(cells: Iterable[str | None], markers: Markers) -> Counter[str]:
    """Count the texts of a column that no marker of missing numbers matches."""
    counts = Counter(cell.strip() for cell in cells if cell is not None)
    return Counter({text: n for text, n in counts.items() if not markers.among_numbers(text)})


def decimal_of(samples: Iterable[Sample]) -> Decimal | None:
    """Return the decimal mark that the columns of texts of a table show together; None if they show none or both."""
    found = {mark for each in samples if (mark := each.decimal or decimal_evidence(each.texts)) is not None}
    return found.pop() if len(found) == 1 else None


def recognise(
    sample: Sample, wanted: str | Sequence[Part] | None, decimal: Decimal | None, *, is_certain: bool = False
) -> Recognised:
    """Return how a column is to be read.

    Args:
        sample: Its type and first cells.
        wanted: The kind that the user set, or parts of a time; None to find out.
        decimal: The decimal mark of the table, where a column alone leaves it open.
        is_certain: Whether it holds whatever the cells show: the user named it.
    """
    if wanted == "exclude":
        return Recognised(LeftOut(why="is excluded by the configuration"))
    if sample.form == "unusable":
        described = _printable(sample.described)
        return Recognised(LeftOut(why=f"holds {described}"), taken_for=described)
    if wanted == "categorical" or sample.form == "category":
        return Recognised(TextReading())
    parts = () if wanted is None or isinstance(wanted, str) else tuple(wanted)
    found = _by_type(sample) if sample.form != "text" else _by_cells(sample.texts, wanted, decimal, is_certain)
    if (parts or wanted == "datetime") and not isinstance(found.reading, TimeReading):
        what = f"text such as {_first(sample.texts)!r}" if sample.texts else sample.described
        return Recognised(LeftOut(why=f"is set to datetime, but holds {what}; write times as 2024-01-31 13:45:00"))
    if isinstance(found.reading, TimeReading):
        zone, order = found.reading.zone, found.reading.order
        return Recognised(TimeReading(order=order, zone=zone, parts=_in_order(parts)), found.note)
    return found


def _by_type(sample: Sample) -> Recognised:
    if sample.form == "time":
        return Recognised(TimeReading(zone=sample.zone))
    if sample.form == "number" and sample.is_rounded:
        return Recognised(
            TextReading(), "holds whole numbers beyond 2^53, which are kept as texts: float64 would round"
        )
    return Recognised(NumberReading(truth=sample.form == "truth"))


def _by_cells(texts: Mapping[str, int], wanted: object, decimal: Decimal | None, is_certain: bool) -> Recognised:
    if {text.lower() for text in texts} <= {"true", "false"}:
        return Recognised(NumberReading(truth=len(texts) > 0))
    total = sum(texts.values())
    may_have_point = not (is_certain and decimal == ",")
    plain = sum(n for text, n in texts.items() if _is_plain(text) and (may_have_point or _DIGITS.match(text)))
    dressed = None
    if plain < total or (decimal == "," and not all(map(_DIGITS.match, texts))):
        dressed = number_format(texts, decimal, is_certain=is_certain)
    if dressed is not None and not dressed.is_plain:
        return Recognised(dressed, _dressed_note(dressed, texts))
    if plain > _LEAST_PLAIN * total:
        return _plain_numbers(texts, is_set=wanted is not None)
    times = time_format(texts)
    if isinstance(times, str):
        return Recognised(LeftOut(why=times), taken_for="dates and times")
    return Recognised(TextReading()) if times is None else Recognised(times, "holds dates and times")


def _plain_numbers(texts: Mapping[str, int], *, is_set: bool) -> Recognised:
    """Return the reading of plain numbers; whole numbers that are names are texts, unless the user set a kind."""
    zeros = [text for text in texts if _LEADING_ZERO.match(text)]
    if zeros and not is_set and sum(1 for text in texts if _DIGITS.match(text)) > _LEAST_PLAIN * len(texts):
        note = f"holds numbers with leading zeros such as {zeros[0][:_SHOWN]!r}: read as categories"
        return Recognised(TextReading(), note, can_be_numbers=True)
    if not is_set and any(map(is_rounded, texts)):
        return Recognised(TextReading(), _TOO_LARGE)
    return Recognised(NumberReading())


def _dressed_note(form: NumberReading, texts: Mapping[str, int]) -> str:
    marks = f"decimal mark {form.decimal!r}" + (f", thousands mark {form.thousands!r}" if form.thousands else "")
    around = f", without {' '.join(form.affixes)}" if form.affixes else ""
    return f"holds numbers such as {_first(texts)!r}: read with {marks}{around}"


def _is_plain(text: str) -> bool:
    try:
        float(as_python(text))
    except ValueError:
        return False
    return True


def _printable(text: str) -> str:
    """Return a short text without control characters: names of types can hold names that users chose."""
    shown = "".join(each if each.isprintable() else "?" for each in text[:_SHOWN_TYPE])
    return shown if len(text) <= _SHOWN_TYPE else f"{shown}..."


def _in_order(parts: Sequence[Part]) -> tuple[Part, ...]:
    return tuple(part for part in PARTS if part in parts)


def _first(texts: Mapping[str, int]) -> str:
    return next(iter(texts))[:_SHOWN]
