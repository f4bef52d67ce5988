"""Cells of text to numbers, one by one where they are not all numbers."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pyarrow as pa

from anomaly_vae.densities import FloatArray
from anomaly_vae.rows import MISSING_TEXTS, text_of
from anomaly_vae.table.arrays import from_strings, to_float64
from anomaly_vae.table.base import wrong_type

__all__ = ["CellCounts", "decode_column", "parse_column", "text_cells"]


class CellCounts:
    """How many cells of each column were numbers, and how many other text."""

    def __init__(self, names: Sequence[str], where: str) -> None:
        self._names, self._where = names, where
        self._numbers = [0] * len(names)
        self._texts = [0] * len(names)
        self._odd: list[str | None] = [None] * len(names)

    def add(self, d: int, numbers: int, odd: Collection[str]) -> None:
        """Count cells of column d that are numbers, and those that are none."""
        self._numbers[d] += numbers
        self._texts[d] += len(odd)
        self._odd[d] = self._odd[d] or next(iter(odd), None)

    def mostly_text(self) -> list[str]:
        """The columns with fewer numbers than other texts."""
        counts = zip(self._names, self._numbers, self._texts, strict=True)
        return [name for name, numbers, texts in counts if texts > numbers]

    def check(self) -> None:
        """Raise InvalidInput for a column whose cells so far are all text."""
        for name, numbers, odd in zip(self._names, self._numbers, self._odd, strict=True):
            if numbers == 0 and odd is not None:
                hint = " (is a quote left open?)" if "\n" in odd else ""
                raise wrong_type(self._where, name, f"text such as {odd[:40]!r}{hint}")


def parse_column(cells: pa.Array) -> tuple[FloatArray, dict[int, str]]:
    """A binary column (N,) as float64, NaN for missing cells, and by position the cells that are no numbers."""
    try:
        return to_float64(_as_string(cells)), {}
    except pa.ArrowInvalid:
        values, odd = np.full(len(cells), np.nan), {}
        for i, cell in enumerate(cells.to_pylist()):
            text = "" if cell is None else cell.decode("utf-8", "replace").strip()
            if text.lower() in MISSING_TEXTS:
                continue
            try:
                values[i] = float(text.replace("_", "?"))  # Python reads 1_000 as a number, others do not
            except ValueError:
                odd[i] = text
        return values, odd


def text_cells(cells: pa.Array) -> list[str | None]:
    """A binary column (N,) as text, None for missing cells."""
    return [text_of(cell) for cell in cells.to_pylist()]


def decode_column(cells: pa.Array) -> pa.Array:
    """A binary column as text; bytes that are no UTF-8 become replacement characters."""
    try:
        return cells.cast(pa.string())
    except pa.ArrowInvalid:
        return from_strings([None if cell is None else cell.decode("utf-8", "replace") for cell in cells.to_pylist()])


def _as_string(cells: pa.Array) -> pa.Array:
    """The same bytes as text, unchecked: what is no UTF-8 is no number either."""
    return pa.Array.from_buffers(pa.string(), len(cells), cells.buffers(), cells.null_count, cells.offset)
