"""Whether p-values are spread as those of rows like the calibration rows."""

from __future__ import annotations

import math

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.record import Record

__all__ = ["Spread", "spread_of"]

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
    excess = shares - grid
    distance = float(max(excess.max(), 0.0) if only_small else np.abs(excess).max())
    size = math.sqrt(len(p_value) * calibration_rows / (len(p_value) + calibration_rows)) * distance
    # Up to and with the upper edge: the largest p-value of a tenth is a multiple of 1 / (n + 1).
    edges = np.arange(1, _BARS + 1) / _BARS
    counts = np.diff(np.searchsorted(np.sort(p_value), edges * (1.0 + 1e-12), side="right"), prepend=0)
    return Spread(
        histogram=tuple((counts / len(p_value)).tolist()),
        distance=distance,
        chance=math.exp(-2.0 * size**2) if only_small else _kolmogorov_tail(size),
    )


def _kolmogorov_tail(size: float) -> float:
    """Return P(K >= size) for the Kolmogorov distribution: 2 sum over k >= 1 of (-1)^(k - 1) exp(-2 k^2 size^2)."""
    if size < _SURE:
        return 1.0
    k = np.arange(1, _TERMS + 1)
    return float(np.clip(2.0 * ((-1.0) ** (k - 1) @ np.exp(-2.0 * (k * size) ** 2)), 0.0, 1.0))
