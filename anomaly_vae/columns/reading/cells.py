"""The cells of input columns to numbers, the same for every kind of table: one float64 per cell, NaN if missing.

A number is itself, a category is its code, and a time is the microseconds of its wall clock since 1970, which
:mod:`~.times` splits into parts later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.reading.codes import CodeBook
from anomaly_vae.columns.reading.missing import Markers, text_of
from anomaly_vae.columns.reading.numbers import decimal_evidence, parse_number, swap_decimal
from anomaly_vae.columns.reading.records import (
    CellError,
    Decimal,
    Input,
    NumberReading,
    Reading,
    TextReading,
    TimeReading,
)
from anomaly_vae.columns.reading.times import in_zone, parse_time, parts_of
from anomaly_vae.errors import InvalidInput

__all__ = ["EXACT_WHOLE", "CellReader", "expand"]

# Below this limit float64 represents every whole number.
EXACT_WHOLE = 2**53

# Characters of a cell in messages.
_SHOWN_CELL = 40

_EXAMPLES = {"ymd": "2024-01-31", "dmy": "31.01.2024", "mdy": "01/31/2024", "clock": "13:45"}
_WORDS = {NumberReading: "numbers", TextReading: "text", TimeReading: "dates and times"}


class CellReader:
    """Reads the columns of one table as numbers.

    Attributes:
        inputs: The columns to read, in order.
        book: The codes of the categories.
        markers: The markers of missing cells.
    """

    def __init__(self, inputs: Sequence[Input], book: CodeBook, markers: Markers) -> None:
        self.inputs, self.book, self.markers = tuple(inputs), book, markers
        self._readings: dict[str, Reading] = {each.name: each.reading for each in inputs}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(each.name for each in self.inputs)

    def reading(self, name: str) -> Reading:
        """Return how a column is read."""
        return self._readings[name]

    def words(self, name: str) -> str:
        """Return what a column held in training, in words."""
        return _WORDS[type(self._readings[name])]

    def with_markers(self, added: Sequence[str]) -> CellReader:
        """Return a reader with more markers of missing cells."""
        return CellReader(self.inputs, self.book, Markers([*self.markers.added, *added])) if added else self

    def with_decimals(self, texts: Mapping[str, Mapping[str, int]], certain: Mapping[str, Decimal]) -> CellReader:
        """Return a reader for a file whose numbers may have another decimal mark than in training.

        A column that leaves the mark open follows the other columns of numbers, if these agree: never columns that are
        not read as numbers, whose texts may look like some.

        Args:
            texts: The first cells of each column of the file, with their counts.
            certain: The marks that need no cells to show them, by column.
        """
        numbers = [each.name for each in self.inputs if isinstance(each.reading, NumberReading)]
        shown = {name: decimal_evidence(texts.get(name, {})) for name in numbers}
        marks = {mark for name, mark in shown.items() if mark is not None and name not in certain}
        agreed = marks.pop() if len(marks) == 1 else None
        inputs = []
        for each in self.inputs:
            reading = each.reading
            if isinstance(reading, NumberReading):
                mark = certain.get(each.name) or shown[each.name] or agreed or reading.decimal
                reading = swap_decimal(reading, mark)
            inputs.append(Input(name=each.name, reading=reading))
        return CellReader(inputs, self.book, self.markers)

    def texts(self, name: str, texts: Sequence[str | None]) -> tuple[FloatArray, dict[int, str]]:
        """Read cells (n,) of a column that are texts; None is a missing cell.

        Returns:
            The numbers, and for each cell that cannot be read its position and what is wrong, as the end of a sentence.
        """
        reading = self._readings[name]
        if isinstance(reading, TextReading):
            known = [None if text is None or self.markers.in_texts(text.strip()) else text_of(text) for text in texts]
            return self.book.encode(name, known), {}
        values, bad = np.full(len(texts), np.nan), dict[int, str]()
        is_time = isinstance(reading, TimeReading)
        for i, text in enumerate(texts):
            if text is None or self.markers.among_numbers(cell := text.strip()):
                continue
            try:
                values[i] = self._parse(cell, reading)
            except CellError as error:
                bad[i] = f"{cell[:_SHOWN_CELL]!r} {error}"
            except InvalidInput:
                raise  # the machine does not know the time zone: that is no fault of the cell
            except ValueError:
                bad[i] = f"{cell[:_SHOWN_CELL]!r} is not a {'date or time' if is_time else 'number'}"
        return values if is_time else self.markers.without(values), bad

    def numbers(self, name: str, values: FloatArray, described: str) -> FloatArray:
        """Read cells (n,) that are numbers already, NaN for missing ones.

        Args:
            name: The column.
            values: The cells. If all are missing, they fit every column: a table may have no type for them.
            described: Their type, for messages.

        Raises:
            InvalidInput: The column held something else in training.
        """
        reading = self._readings[name]
        values = self.markers.without(values)
        if isinstance(reading, NumberReading):
            return values
        if np.isnan(values).all():
            return self._empty(name, len(values))
        if isinstance(reading, TimeReading):
            raise self.drift(name, f"numbers ({described})")
        found, inverse = np.unique(values, return_inverse=True)
        if not self.book.grows and len(found) and not any(map(_is_number, self.book.categories[name])):
            raise self.drift(name, f"numbers ({described})")
        return self.book.encode(name, [text_of(value) for value in found.tolist()])[inverse]

    def times(self, name: str, micros: NDArray[np.int64], missing: NDArray[np.bool_], zone: str | None) -> FloatArray:
        """Read cells (n,) that are times already.

        Args:
            name: The column.
            micros: Microseconds since 1970: in UTC if there is a zone, otherwise of the wall clock.
            missing: Which cells are missing.
            zone: The time zone of the table's type, or None.

        Raises:
            InvalidInput: The column held something else in training, or has a time zone and training had none.
        """
        reading = self._readings[name]
        if missing.all():
            return self._empty(name, len(missing))
        if isinstance(reading, TimeReading) and reading.order == "clock":
            raise self.drift(name, "dates")
        if isinstance(reading, TimeReading):
            if zone is not None and reading.zone is None:
                raise self.drift(name, f"times in the time zone {zone}", had="times without a time zone")
            wall = micros if zone is None else in_zone(micros, str(reading.zone))
            return np.where(missing, np.nan, wall.astype(np.float64))
        if isinstance(reading, TextReading):
            dates = micros.astype("datetime64[us]").tolist()
            texts = [None if gone else each.isoformat(sep=" ") for gone, each in zip(missing, dates, strict=True)]
            return self.book.encode(name, texts)
        raise self.drift(name, "dates and times")

    def drift(self, name: str, found: str, *, had: str | None = None) -> InvalidInput:
        """Return the error for a column of another type than in training."""
        return InvalidInput(
            f"column {name!r} holds {found}, expected {had or self.words(name)} as in training; "
            "write it as the training table had it, or train again",
            field=name,
        )

    def drift_of_texts(self, name: str, cell: str, problem: str, hint: str = "") -> InvalidInput:
        """Return the error for a column of texts of which none can be read.

        Args:
            name: The column.
            cell: One of the texts.
            problem: What is wrong with it, as :meth:`texts` returns it.
            hint: A likely cause, in brackets.
        """
        shown = repr(cell.strip()[:_SHOWN_CELL])
        reason = problem.removeprefix(shown).strip()
        if not reason.startswith("is not a "):
            hint = f" ({reason})"
        reading = self._readings[name]
        had = f"dates and times such as {_EXAMPLES[reading.order]}" if isinstance(reading, TimeReading) else None
        return self.drift(name, f"text such as {shown}{hint}", had=had)

    def _empty(self, name: str, num_cells: int) -> FloatArray:
        """Read cells that are all missing: their type says nothing about what the column holds."""
        return self.texts(name, [None] * num_cells)[0]

    def _parse(self, cell: str, reading: Reading) -> float:
        if isinstance(reading, TimeReading):
            return float(parse_time(cell, reading))
        return parse_number(cell, reading)  # type: ignore[arg-type]


def expand(cells: FloatArray, inputs: Sequence[Input]) -> FloatArray:
    """Split times into their parts: cells (N, inputs) to rows (N, D). Without times, the cells are the rows."""
    if not any(isinstance(each.reading, TimeReading) for each in inputs):
        return cells
    parts = [
        parts_of(cells[:, d], each.reading.parts) if isinstance(each.reading, TimeReading) else cells[:, d : d + 1]
        for d, each in enumerate(inputs)
    ]
    return np.concatenate(parts, axis=1)


def _is_number(text: str) -> bool:
    """Return whether a category could come from a column of numbers: 3, but not 03."""
    try:
        return text_of(float(text)) == text
    except ValueError:
        return False
