"""Rows that are read when they are needed: images and windows that would not fit in memory as numbers.

A source that is small is read at once. Of a large one, the held-out and the calibration rows are arrays of bounded
size, what looks at the training rows as a whole looks at a sample of them, and each step of the training reads its
batch.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.split import MOST_SET_ASIDE, Split

__all__ = [
    "LazyRows",
    "Parts",
    "RowSource",
    "Rows",
    "evenly",
    "is_small",
    "most_set_aside",
    "parts_of",
    "read_if_small",
    "typical",
]

# Bytes of float64 rows from which on a source is not read at once. Chosen, not measured: training takes about three
# times as much memory as the rows have.
MOST_BYTES = 2**30

# Bytes of the held-out rows, and of the calibration rows, of a source that is not read at once; 20,000 rows of 784
# cells have as many. Chosen, not measured.
_SET_ASIDE_BYTES = 2**27

# Bytes of the sample of the training rows. Chosen, not measured: 5,000 rows of 784 cells, 250 of 16,384.
_SAMPLE_BYTES = 2**25

_CELL_BYTES = 8


class RowSource(Protocol):
    """Rows in data units, by number."""

    @property
    def num_cells(self) -> int:
        """D."""
        ...

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def take(self, numbers: NDArray[np.intp]) -> FloatArray:
        """Read rows, float64 (n, D), NaN where a cell is missing; a row that cannot be read is NaN in all cells."""
        ...


class LazyRows:
    """Some rows of a source.

    Attributes:
        nbytes: Size of all rows as float64.
    """

    def __init__(self, source: RowSource, numbers: NDArray[np.intp]) -> None:
        """Choose the rows with these numbers."""
        self._source, self._numbers = source, numbers
        self.nbytes = len(numbers) * source.num_cells * _CELL_BYTES

    def __len__(self) -> int:
        return len(self._numbers)

    def take(self, places: NDArray[np.intp]) -> FloatArray:
        """Read the rows at these places, without those that cannot be read."""
        rows = self._source.take(self._numbers[places])
        is_empty = np.isnan(rows).all(axis=1)
        return rows[~is_empty] if is_empty.any() else rows

    @cached_property
    def sample(self) -> FloatArray:
        """Rows that stand for all, evenly spread."""
        count = max(_SAMPLE_BYTES // (_CELL_BYTES * self._source.num_cells), 1)
        return self.take(evenly(len(self), count))


Rows = FloatArray | LazyRows


class Parts(NamedTuple):
    """The rows of a training run: those that train it, those that stop it, and those that calibrate it."""

    train: Rows
    held_out: FloatArray
    calibration: FloatArray


def typical(rows: Rows) -> FloatArray:
    """Return the rows, or the sample of rows that are not in memory."""
    return rows.sample if isinstance(rows, LazyRows) else rows


def parts_of(rows: FloatArray | RowSource, split: Split) -> Parts:
    """Return the parts of a split; only the training rows of a source stay where they are."""
    if isinstance(rows, np.ndarray):
        return Parts(rows[split.train], rows[split.held_out], rows[split.calibration])
    held_out, calibration = (
        LazyRows(rows, numbers).take(np.arange(len(numbers))) for numbers in (split.held_out, split.calibration)
    )
    return Parts(LazyRows(rows, split.train), held_out, calibration)


def is_small(source: RowSource) -> bool:
    """Return whether all rows can be in memory: they have at most 1 GiB."""
    return len(source) * source.num_cells * _CELL_BYTES <= MOST_BYTES


def read_if_small(source: RowSource) -> FloatArray | RowSource:
    """Return all rows of a small source, and a large source as it is."""
    return source.take(np.arange(len(source))) if is_small(source) else source


def most_set_aside(rows: FloatArray | RowSource) -> int:
    """Return how many rows are held out, and how many calibrate, at most."""
    if isinstance(rows, np.ndarray):
        return MOST_SET_ASIDE
    return min(MOST_SET_ASIDE, max(_SET_ASIDE_BYTES // (_CELL_BYTES * rows.num_cells), 1))


def evenly(num_rows: int, most: int) -> NDArray[np.intp]:
    """Return the numbers of at most so many rows, evenly spread."""
    count = min(num_rows, most)
    return np.arange(count, dtype=np.intp) * num_rows // max(count, 1)
