"""Whether p-values are spread as those of rows like the calibration rows."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.record import Record

__all__ = ["Spread", "spread_of", "spread_of_counts"]

# Bars of the histogram.
_BARS = 10

# Terms of the Kolmogorov distribution; the tenth is below 1e-40 where the first is below 0.9.
_TERMS = 10
# The distribution is 1 to 12 digits below this value.
_SURE = 0.2


class Spread(Record):
    """How p-values lie between 0 and 1.

    Attributes:
        histogram: Share of the rows in each tenth of (0, 1]; normal rows have about 0.1 in each.
        distance: Kolmogorov-Smirnov distance to the calibration rows: the largest difference of the shares of rows up
            to some p-value.
        chance: Probability of this distance or more if the rows are like the calibration rows, by the distribution of
            many rows.
    """

    histogram: tuple[float, ...]
    distance: float
    chance: float


def spread_of(p_value: FloatArray, calibration_rows: int, *, only_small: bool = False) -> Spread:
    """Compare p-values with those that normal rows have.

    All rows are compared with one calibration set, so this is a test of two samples, the rows and the calibration rows.
    A test against the uniform distribution would not count the chance in the calibration set.

    Args:
        p_value: Conformal p-values, shape (N,), at least one.
        calibration_rows: n, the rows that they come from.
        only_small: Count only an excess of small p-values: those of a model with a contrast are too large on average.
    """
    grid = np.arange(1, calibration_rows + 2) / (calibration_rows + 1.0)
    shares = np.searchsorted(np.sort(p_value), grid * (1.0 + 1e-12), side="right") / len(p_value)
    distance = _distance(shares - grid, only_small)
    # Up to and with the upper edge: the largest p-value of a tenth is a multiple of 1 / (n + 1).
    edges = np.arange(1, _BARS + 1) / _BARS
    counts = np.diff(np.searchsorted(np.sort(p_value), edges * (1.0 + 1e-12), side="right"), prepend=0)
    return Spread(
        histogram=tuple((counts / len(p_value)).tolist()),
        distance=distance,
        chance=_chance(distance, len(p_value), calibration_rows, only_small),
    )


def spread_of_counts(counts: NDArray[np.int64], calibration_rows: int, *, only_small: bool = False) -> Spread:
    """Return :func:`spread_of` of p-values that were only counted, in memory that does not grow with the rows.

    The distance is that at the edges of the parts: it is never above the one of the p-values themselves.

    Args:
        counts: Rows with a p-value in each of K equal parts of (0, 1], each with its upper edge, shape (K,); K is a
            multiple of 10. At least one row.
        calibration_rows, only_small: As for :func:`spread_of`.
    """
    parts, total = len(counts), int(counts.sum())
    edges = np.arange(1, parts + 1) / parts
    expected = np.floor(edges * (calibration_rows + 1.0) * (1.0 + 1e-12)) / (calibration_rows + 1.0)
    distance = _distance(np.cumsum(counts) / total - expected, only_small)
    return Spread(
        histogram=tuple((counts.reshape(_BARS, -1).sum(axis=1) / total).tolist()),
        distance=distance,
        chance=_chance(distance, total, calibration_rows, only_small),
    )


def _distance(excess: FloatArray, only_small: bool) -> float:
    return float(max(excess.max(), 0.0) if only_small else np.abs(excess).max())


def _chance(distance: float, rows: int, calibration_rows: int, only_small: bool) -> float:
    size = math.sqrt(rows * calibration_rows / (rows + calibration_rows)) * distance
    return math.exp(-2.0 * size**2) if only_small else _kolmogorov_tail(size)


def _kolmogorov_tail(size: float) -> float:
    """Return P(K >= size) for the Kolmogorov distribution: 2 sum over k >= 1 of (-1)^(k - 1) exp(-2 k^2 size^2)."""
    if size < _SURE:
        return 1.0
    k = np.arange(1, _TERMS + 1)
    return float(np.clip(2.0 * ((-1.0) ** (k - 1) @ np.exp(-2.0 * (k * size) ** 2)), 0.0, 1.0))
