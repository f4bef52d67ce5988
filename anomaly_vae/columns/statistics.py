"""What the calibration rows held, column by column: counts and quantiles that new rows are compared with.

The calibration rows chose nothing: which categories are known, which columns are constant and the like was decided by
the training rows. So the calibration rows and new normal rows are exchangeable in every column, and counts of both can
be compared by exact tests: see :mod:`anomaly_vae.assessment.shifts`.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.schema import MOST_CATEGORIES, Column, Schema
from anomaly_vae.record import Count, Positive, Record

__all__ = [
    "QUANTILES",
    "ColumnStatistics",
    "RowStatistics",
    "is_by_level",
    "levels_of",
    "numbers_of",
    "ranks_of",
    "statistics_of",
]

# The shares of the sorted values whose largest value is kept. Chosen, not measured: the ends, the tails and the middle.
QUANTILES = (0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)

_MOST_LEVELS = MOST_CATEGORIES + 2


class ColumnStatistics(Record):
    """One column in some rows.

    Attributes:
        missing: Rows without a value.
        quantiles: Order statistics of the values, at the ranks of :func:`ranks_of`, data units; empty for a column of
            levels, and without values.
        levels: Rows with each level of :func:`levels_of`; empty for a column of numbers.
    """

    missing: Count
    quantiles: Annotated[tuple[float, ...], Meta(max_length=len(QUANTILES))] = ()
    levels: Annotated[tuple[Count, ...], Meta(max_length=_MOST_LEVELS)] = ()


class RowStatistics(Record):
    """All columns of the schema in some rows.

    Attributes:
        num_rows: The number of rows.
        columns: The columns, in the order of the schema.
    """

    num_rows: Positive
    columns: tuple[ColumnStatistics, ...]

    def fits(self, schema: Schema) -> bool:
        """Return whether these can be the statistics of rows with these columns."""
        return len(self.columns) == len(schema.columns) and all(
            self._fits(column, each) for column, each in zip(schema.columns, self.columns, strict=True)
        )

    def _fits(self, column: Column, each: ColumnStatistics) -> bool:
        present = self.num_rows - each.missing
        if present < 0:
            return False
        if is_by_level(column):
            return not each.quantiles and len(each.levels) == _num_levels(column) and sum(each.levels) == present
        num_expected = len(QUANTILES) if present else 0
        return (
            not each.levels and len(each.quantiles) == num_expected and list(each.quantiles) == sorted(each.quantiles)
        )


def statistics_of(schema: Schema, rows: FloatArray) -> RowStatistics:
    """Return the statistics of rows (N, D), N at least 1."""
    novel = schema.novel_cells(rows)
    columns = (_statistics_of(column, rows[:, d], novel[:, d]) for d, column in enumerate(schema.columns))
    return RowStatistics(num_rows=len(rows), columns=tuple(columns))


def is_by_level(column: Column) -> bool:
    """Return whether a column is described by the counts of its levels, not by quantiles."""
    return column.kind in ("categorical", "binary", "constant")


def levels_of(column: Column, values: FloatArray, novel: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return how many values have each level: the categories, 0 and 1, or the constant; the last one is a new value.

    Args:
        column: A column of levels.
        values: Its cells, NaN for missing ones, shape (N,).
        novel: Which of them training never had, shape (N,).
    """
    last = _num_levels(column) - 1
    known = ~np.isnan(values) & ~novel
    level = np.zeros(len(values), dtype=np.int64)
    if column.kind != "constant":
        level[known] = values[known].astype(np.int64)
    counts = np.bincount(level[known], minlength=last + 1)
    counts[last] = novel.sum()
    return counts


def numbers_of(column: Column, values: FloatArray) -> FloatArray:
    """Return the sorted values that are present, (n,); those on a circle are reduced to one turn."""
    present = values[~np.isnan(values)]
    if column.period is not None:
        present = np.mod(present, column.period)
    return np.sort(present)


def ranks_of(n: int) -> NDArray[np.int64]:
    """Return the ranks, from 1 to n, of the order statistics of n values that are kept."""
    slack = 1e-9  # so that 0.1 * 30, slightly above 3, has the rank 3
    return np.clip(np.ceil(np.array(QUANTILES) * n - slack).astype(np.int64), 1, n)


def _num_levels(column: Column) -> int:
    if column.categories is not None:
        return len(column.categories) + 1
    return 3 if column.kind == "binary" else 2


def _statistics_of(column: Column, values: FloatArray, novel: NDArray[np.bool_]) -> ColumnStatistics:
    missing = int(np.isnan(values).sum())
    if is_by_level(column):
        return ColumnStatistics(missing=missing, levels=tuple(levels_of(column, values, novel).tolist()))
    numbers = numbers_of(column, values)
    kept = numbers[ranks_of(len(numbers)) - 1] if len(numbers) else numbers
    return ColumnStatistics(missing=missing, quantiles=tuple(kept.tolist()))
