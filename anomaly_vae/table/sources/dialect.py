"""How a CSV file is written: the character between cells, the quotes, and the decimal mark of its numbers."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from anomaly_vae.columns.reading.records import Decimal

__all__ = ["Dialect", "decimal_mark", "find_dialect", "read_rows"]

# The order decides between separators that fit equally well.
_SEPARATORS = (",", ";", "\t", "|")

# A cell in single quotes, between separators or line ends.
_SINGLE_QUOTED = r"(?:^|[{0}])'(?:[^']|'')*'(?=[{0}]|\r|\n|\Z)"
_SINGLE_QUOTE_STARTS = r"(?:^|[{0}])'"

_EXPONENT = r"(?:[eE][+-]?\d+)?"
_POINT = re.compile(rf"[+-]?(?:\d{{1,3}}(?:,\d{{3}})+\.\d*|\d*\.\d+|\d+\.){_EXPONENT}")
_COMMA = re.compile(rf"[+-]?(?:\d{{1,3}}(?:\.\d{{3}})+,\d*|\d*,\d+|\d+,){_EXPONENT}")

# 1,234 and 1.234: a decimal mark or one between thousands.
_EITHER = re.compile(r"[+-]?[1-9]\d{0,2}[.,]\d{3}")

_INTEGER = re.compile(rf"[+-]?\d+{_EXPONENT}")


class Dialect(NamedTuple):
    """The separator of cells and the quote around cells."""

    separator: str
    quote: str


class _Fit(NamedTuple):
    """How well a dialect fits; larger is better."""

    has_columns: bool
    share_like_header: float
    share_numbers: float
    share_exactly: float
    is_preferred: int


def read_rows(text: str, dialect: Dialect) -> Iterator[list[str]]:
    """Read rows; blank lines are left out. The end of the text or a cell that is too long ends them."""
    lines = io.StringIO(text, newline="")
    rows = csv.reader(lines, delimiter=dialect.separator, quotechar=dialect.quote)
    try:
        yield from (row for row in rows if row)
    except csv.Error:
        return


def find_dialect(text: str, *, is_whole: bool, separator: str | None = None) -> Dialect:
    """Find the dialect in the first text of a file; ``separator`` is what the user says."""
    best: tuple[_Fit, Dialect] | None = None
    for place, mark in enumerate([separator] if separator else _SEPARATORS):
        dialect = Dialect(mark, _quote(text, mark))
        fit = _fit(text, dialect, is_whole=is_whole, place=place)
        if best is None or fit > best[0]:
            best = fit, dialect
    assert best is not None  # noqa: S101 - there is always a separator
    return best[1]


def decimal_mark(rows: Sequence[Sequence[str]]) -> Decimal | None:
    """Return the decimal mark that the cells show; None if they show neither or both."""
    marks = set[Decimal]()
    for cell in {cell for cell in itertools.chain.from_iterable(rows) if "," in cell or "." in cell}:
        text = cell.strip()
        if text[-1:].isdigit() or text[-1:] in {",", "."}:
            if _EITHER.fullmatch(text):
                continue
            if _POINT.fullmatch(text):
                marks.add(".")
            elif _COMMA.fullmatch(text):
                marks.add(",")
    return marks.pop() if len(marks) == 1 else None


def _quote(text: str, separator: str) -> str:
    """Return the quote: a single one only if it starts cells and ends all of them, and no double quote starts any."""
    mark = re.escape(separator)
    if "'" not in text or re.search(_SINGLE_QUOTE_STARTS.format(mark).replace("'", '"'), text, re.MULTILINE):
        return '"'
    starts = len(re.findall(_SINGLE_QUOTE_STARTS.format(mark), text, re.MULTILINE))
    closed = len(re.findall(_SINGLE_QUOTED.format(mark), text, re.MULTILINE))
    return "'" if starts and closed == starts else '"'


def _fit(text: str, dialect: Dialect, *, is_whole: bool, place: int) -> _Fit:
    rows = list(read_rows(text, dialect))
    if not is_whole and len(rows) > 1:
        rows.pop()  # cut off
    if not rows:
        return _Fit(False, 1.0, 0.0, 1.0, -place)
    width, rows = len(rows[0]), rows[1:]
    share = sum(len(row) == width for row in rows) / len(rows) if rows else 1.0
    cells = [cell for row in rows[:1000] for cell in row if cell]
    numbers = sum(_is_number(cell.strip(), dialect.separator) for cell in cells) / len(cells) if cells else 0.0
    return _Fit(width > 1, round(share, 1), numbers, share, -place)


def _is_number(cell: str, separator: str) -> bool:
    return bool(
        _INTEGER.fullmatch(cell) or _POINT.fullmatch(cell) or (separator != "," and _COMMA.fullmatch(cell)) or not cell
    )
