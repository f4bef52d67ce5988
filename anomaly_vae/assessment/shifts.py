"""Which columns have changed: new rows beside the calibration rows, column by column, with exact tests.

Columns of numbers are compared at order statistics of the calibration rows, in both directions, as scores are in
:mod:`anomaly_vae.assessment.uniformity`. Categories, 0 and 1, constants, new values and missing cells are counted, and
compared by Fisher's exact test. The p-value of a column is that of all its tests (Bonferroni), and those of all columns
are adjusted by Holm's method.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.assessment.drift_counts import log_p_deficit, log_p_excess, log_p_level
from anomaly_vae.assessment.drift_units import unit_change
from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.columns.statistics import (
    QUANTILES,
    ColumnStatistics,
    RowStatistics,
    is_by_level,
    levels_of,
    numbers_of,
    ranks_of,
)

__all__ = ["ColumnShift", "NewRows", "column_shifts", "level_names"]

# New rows whose quantiles are shown, at most, and their cells. The tests count all rows. Chosen, not measured.
_SAMPLE_ROWS, _SAMPLE_CELLS = 20_000, 2**23

# A level that fewer calibration and new rows together have cannot be significant. It is left out of the tests, which
# stay exact, because they hold given this sum.
_LEAST_IN_BOTH = 5

_LOW, _MIDDLE, _HIGH = (QUANTILES.index(share) for share in (0.1, 0.5, 0.9))


@dataclass(frozen=True, kw_only=True)
class ColumnShift:
    """One column.

    Attributes:
        column: Its name.
        kind: Its kind in the schema.
        log_p_value: Of all tests of the column, nats, before Holm's adjustment; None without calibration counts.
        log_p_adjusted: After the adjustment for all columns.
        changed: Whether the adjusted p-value is at most alpha; without calibration counts False.
        distance: The largest difference between shares of new rows and of calibration rows, from 0 to 1: of those below
            a value, with some level (half of the sum of all differences), or without a value.
        missing: Shares without a value, before and now.
        new_values: Shares with a value that training never had, before and now; 0 for columns of numbers.
        outside: Share of the values outside the range of the calibration rows.
        low, middle, high: 10 %, 50 % and 90 % of the values, before and now, data units; None for levels.
        level: The level whose share has changed most, and its shares before and now; None for numbers.
        units: The change of units that it looks like, such as "x 1000".
    """

    column: str
    kind: str
    log_p_value: float | None
    log_p_adjusted: float | None = None
    changed: bool = False
    distance: float
    missing: tuple[float, float]
    new_values: tuple[float, float] = (0.0, 0.0)
    outside: float = 0.0
    low: tuple[float, float] | None = None
    middle: tuple[float, float] | None = None
    high: tuple[float, float] | None = None
    level: tuple[str, float, float] | None = None
    units: str | None = None


@dataclass
class _Counts:
    missing: int
    below: NDArray[np.int64]
    at_most: NDArray[np.int64]
    levels: NDArray[np.int64]


class NewRows:
    """Counts the cells of new rows, part by part, in bounded memory.

    Attributes:
        num_rows: How many were counted.
    """

    def __init__(self, schema: Schema, reference: RowStatistics, seed: int = 0) -> None:
        """Compare with these statistics; ``seed`` chooses the rows whose quantiles are shown."""
        self._schema, self._reference, self._rng = schema, reference, np.random.default_rng(seed)
        num_columns = len(schema.columns)
        self._most = max(min(_SAMPLE_ROWS, _SAMPLE_CELLS // max(num_columns, 1)), 1)
        self._sample, self._order = np.empty((0, num_columns)), np.empty(0)
        self._counts = [_zero(each) for each in reference.columns]
        self.num_rows = 0

    def add(self, rows: FloatArray) -> None:
        """Count rows (N, D)."""
        novel = self._schema.novel_cells(rows)
        for d, (column, before) in enumerate(zip(self._schema.columns, self._reference.columns, strict=True)):
            counts, values = self._counts[d], rows[:, d]
            counts.missing += int(np.isnan(values).sum())
            if is_by_level(column):
                counts.levels += levels_of(column, values, novel[:, d])
            elif before.quantiles:
                numbers = numbers_of(column, values)
                counts.below += np.searchsorted(numbers, before.quantiles, side="left")
                counts.at_most += np.searchsorted(numbers, before.quantiles, side="right")
        self.num_rows += len(rows)
        self._keep(rows)

    def shifts(self) -> list[ColumnShift]:
        """Return what has changed in each column, in the order of the schema, without Holm's adjustment."""
        return [self._shift(d, column) for d, column in enumerate(self._schema.columns)]

    def _shift(self, d: int, column: Column) -> ColumnShift:
        before, now, m = self._reference.columns[d], self._counts[d], self.num_rows
        n = self._reference.num_rows
        missing = (before.missing / n, now.missing / max(m, 1))
        tests = list(log_p_level(n, m, before.missing, now.missing)) if before.missing + now.missing else []
        compare = _compare_levels if is_by_level(column) else _compare_numbers
        found = compare(column, before, now, n - before.missing, m - now.missing, self._sample[:, d])
        tests += found.tests
        log_p = min(min(tests) + math.log(len(tests)), 0.0) if tests else 0.0
        distance = max(abs(missing[1] - missing[0]), found.distance)
        return ColumnShift(
            column=column.name,
            kind=column.kind,
            log_p_value=log_p,
            distance=distance,
            missing=missing,
            **found.facts,
        )

    def _keep(self, rows: FloatArray) -> None:
        """Keep a random sample of all rows so far: those with the smallest random numbers."""
        order = np.concatenate([self._order, self._rng.random(len(rows))])
        sample = np.concatenate([self._sample, rows])
        if len(order) > self._most:
            kept = np.sort(np.argpartition(order, self._most)[: self._most])
            order, sample = order[kept], sample[kept]
        self._order, self._sample = order, sample


def column_shifts(found: Sequence[ColumnShift], alpha: float, *, has_counts: bool = True) -> list[ColumnShift]:
    """Return the columns with adjusted p-values, those that have changed most first.

    Args:
        found: The columns, from :meth:`NewRows.shifts`.
        alpha: Probability that any column is said to have changed while none has.
        has_counts: Whether they were compared with calibration rows, so that the p-values hold.
    """
    if not has_counts:
        shown = [replace(each, log_p_value=None) for each in found]
        return sorted(shown, key=lambda each: -each.distance)
    order = sorted(range(len(found)), key=lambda d: found[d].log_p_value or 0.0)
    adjusted, highest = {}, -math.inf
    for place, d in enumerate(order):
        highest = max(highest, (found[d].log_p_value or 0.0) + math.log(len(found) - place))
        adjusted[d] = min(highest, 0.0)
    limit = math.log(alpha)
    judged = [replace(each, log_p_adjusted=adjusted[d], changed=adjusted[d] <= limit) for d, each in enumerate(found)]
    return sorted(judged, key=lambda each: (not each.changed, -each.distance, each.log_p_value))


def level_names(column: Column) -> list[str]:
    """Return the names of a column's levels; the last one stands for all values that training never had."""
    if column.categories is not None:
        return [*map(repr, column.categories), "new values"]
    return ["0", "1", "new values"] if column.kind == "binary" else [f"{column.value:g}", "new values"]


@dataclass(frozen=True)
class _Found:
    tests: list[float]
    distance: float
    facts: dict[str, Any]


def _compare_levels(
    column: Column, before: ColumnStatistics, now: _Counts, n: int, m: int, _sample: FloatArray
) -> _Found:
    old = np.array(before.levels, dtype=np.int64)
    pairs = zip(old.tolist(), now.levels.tolist(), strict=True)
    tests = [p for a, b in pairs if a + b >= _LEAST_IN_BOTH for p in log_p_level(n, m, a, b)] if n and m else []
    was, is_ = old / max(n, 1), now.levels / max(m, 1)
    most = int(np.argmax(np.abs(is_ - was)))
    facts: dict[str, Any] = {
        "new_values": (float(was[-1]), float(is_[-1])),
        "level": (level_names(column)[most], float(was[most]), float(is_[most])),
    }
    return _Found(tests, 0.5 * float(np.abs(is_ - was).sum()) if n and m else 0.0, facts)


def _compare_numbers(
    _column: Column, before: ColumnStatistics, now: _Counts, n: int, m: int, sample: FloatArray
) -> _Found:
    if not (n and m):
        return _Found([], 0.0, {})
    ranks, old = ranks_of(n), np.array(before.quantiles)
    tests = [
        test
        for k, below, at_most in zip(ranks.tolist(), now.below.tolist(), now.at_most.tolist(), strict=True)
        for test in (log_p_excess(n, m, k, below), log_p_deficit(n, m, k, at_most))
    ]
    distance = float(np.maximum(now.below / m - ranks / n, (ranks - 1) / n - now.at_most / m).max())
    numbers = numbers_of(_column, sample)
    facts: dict[str, Any] = {"outside": float(now.below[0] + m - now.at_most[-1]) / m}
    if len(numbers):
        new = numbers[ranks_of(len(numbers)) - 1]
        facts |= {
            name: (float(old[j]), float(new[j])) for name, j in (("low", _LOW), ("middle", _MIDDLE), ("high", _HIGH))
        }
        facts["units"] = None if _column.period is not None else unit_change(old, new)
    return _Found(tests, max(distance, 0.0), facts)


def _zero(before: ColumnStatistics) -> _Counts:
    zeros = np.zeros(len(before.quantiles), dtype=np.int64)
    return _Counts(0, zeros, zeros.copy(), np.zeros(len(before.levels), dtype=np.int64))
