"""Rows of a CSV file with too many or too few cells. pyarrow leaves them out; here they return to their place."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from anomaly_vae.arrow.buffers import from_numpy, from_strings
from anomaly_vae.arrow.faults import Fault
from anomaly_vae.table.sources.dialect import Dialect

__all__ = ["QUOTE_HINT", "RaggedRows"]

QUOTE_HINT = "; is a quote left open?"


class _Ragged(NamedTuple):
    """A row with more or fewer cells than the header.

    Attributes:
        number: Position in the file, from 1, without the header.
        fault: The fault to report.
        cells: The cells it has.
    """

    number: int
    fault: Fault
    cells: list[str]


class RaggedRows:
    """The ragged rows that pyarrow has found so far, which may be ahead of the rows that it returned."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._found: deque[_Ragged] = deque()
        self._record = 0

    def note(self, row: Any) -> str:
        """Remember a ragged row; pyarrow calls this and leaves the row out."""
        hint = QUOTE_HINT if "\n" in row.text else ""
        text = f"the row has {row.actual_columns} cells, the header {row.expected_columns}{hint}"
        self._found.append(_Ragged(row.number, Fault("ragged", text), [] if hint else self._cells(row.text)))
        return "skip"

    def insert(self, columns: Sequence[pa.Array], places: Sequence[int]) -> tuple[list[pa.Array], list[Fault | None]]:
        """Insert the ragged rows among the next rows.

        Args:
            columns: The rows that follow on those of the call before.
            places: The place of each column in the file.

        Returns:
            The columns with all rows, and one fault (or None) per row.
        """
        size = len(columns[0])
        if not self._found or self._found[0].number > self._record + size + 1:
            self._record += size
            return list(columns), [None] * size
        source: list[int | None] = []
        ragged: dict[int, _Ragged] = {}
        for i in range(size + 1):
            while self._found and self._found[0].number == self._record + len(source) + 1:
                ragged[len(source)] = self._found.popleft()
                source.append(None)
            if i < size:
                source.append(i)
        self._record += len(source)
        filled = [
            _with_cells(column, place, ragged) for place, column in zip(places, _take(columns, source), strict=True)
        ]
        return filled, [ragged[i].fault if i in ragged else None for i in range(len(source))]

    def _cells(self, text: str) -> list[str]:
        reader = csv.reader([text], delimiter=self._dialect.separator, quotechar=self._dialect.quote)
        try:
            return next(reader, [])
        except csv.Error:  # a cell is too long
            return []


def _take(columns: Sequence[pa.Array], source: list[int | None]) -> list[pa.Array]:
    """Return the rows at these positions, and a row of nulls for None."""
    valid = np.array([i is not None for i in source], dtype=bool)
    positions = from_numpy(np.array([i or 0 for i in source], dtype=np.int64), valid)
    return [column.take(positions) for column in columns]


def _with_cells(column: pa.Array, place: int, ragged: dict[int, _Ragged]) -> pa.Array:
    """Return the column with the cells of ragged rows filled in, so that kept columns still identify these rows."""
    cells = column.to_pylist()
    for i, row in ragged.items():
        cells[i] = row.cells[place] or None if place < len(row.cells) else None
    return from_strings(cells)
