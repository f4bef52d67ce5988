"""Convert CSV cells to numbers: the whole column at once if all cells are numbers, else cell by cell."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pyarrow as pa

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.rows import MISSING_TEXTS, text_of
from anomaly_vae.table.arrow import from_strings, to_float64
from anomaly_vae.table.base import wrong_type

__all__ = ["CellCounts", "decode_column", "parse_column", "text_cells"]


class CellCounts:
    """Counts of the numbers and of the other texts in the first cells of each column."""

    def __init__(self, names: Sequence[str], where: str) -> None:
        self._names, self._where = names, where
        self._numbers = [0] * len(names)
        self._texts = [0] * len(names)
        self._first_text: list[str | None] = [None] * len(names)

    def add(self, d: int, numbers: int, texts: Collection[str]) -> None:
        """Add cells of column d: how many are numbers, and the cells that are not."""
        self._numbers[d] += numbers
        self._texts[d] += len(texts)
        self._first_text[d] = self._first_text[d] or next(iter(texts), None)

    def mostly_text(self) -> list[str]:
        """Return the columns with more texts than numbers."""
        counts = zip(self._names, self._numbers, self._texts, strict=True)
        return [name for name, numbers, texts in counts if texts > numbers]

    def check(self) -> None:
        """Raise InvalidInput for the first column that has texts and no number."""
        for name, numbers, text in zip(self._names, self._numbers, self._first_text, strict=True):
            if numbers == 0 and text is not None:
                hint = " (is a quote left open?)" if "\n" in text else ""
                raise wrong_type(self._where, name, f"text such as {text[:40]!r}{hint}")


def parse_column(cells: pa.Array) -> tuple[FloatArray, dict[int, str]]:
    """Return a binary column (N,) as float64, NaN for missing cells, and the cells that are not numbers by position."""
    try:
        return to_float64(_as_string(cells)), {}
    except pa.ArrowInvalid:
        values, texts = np.full(len(cells), np.nan), {}
        for i, cell in enumerate(cells.to_pylist()):
            text = "" if cell is None else cell.decode("utf-8", "replace").strip()
            if text.lower() in MISSING_TEXTS:
                continue
            try:
                values[i] = float(
                    text.replace("_", "?")
                )  # float("1_000") is 1000 in Python, but 1_000 is not a number in a CSV file
            except ValueError:
                texts[i] = text
        return values, texts


def text_cells(cells: pa.Array) -> list[str | None]:
    """Return a binary column (N,) as texts, None for missing cells."""
    return [text_of(cell) for cell in cells.to_pylist()]


def decode_column(cells: pa.Array) -> pa.Array:
    """Return a binary column as strings; bytes that are not UTF-8 become replacement characters."""
    try:
        return cells.cast(pa.string())
    except pa.ArrowInvalid:
        return from_strings([None if cell is None else cell.decode("utf-8", "replace") for cell in cells.to_pylist()])


def _as_string(cells: pa.Array) -> pa.Array:
    """Return the same bytes as strings, without a check for UTF-8: bytes that are not UTF-8 are not numbers either."""
    return pa.Array.from_buffers(pa.string(), len(cells), cells.buffers(), cells.null_count, cells.offset)
