"""The middle and the range of a conditional density of one column, or its likeliest levels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.angles import wrapped
from anomaly_vae.columns.schema import Column
from anomaly_vae.density.conditionals import Conditional

__all__ = ["Expected", "expected"]

# The quantiles that are stated: the median, and a range that holds 90 %.
_QUANTILES = np.array([0.05, 0.5, 0.95])

# Values that span the conditional, and points of the grid on which it is integrated. Chosen, not measured: tests
# compare the quantiles with closed forms.
_DRAWS, _GRID = 256, 48

# Share of the range of the draws by which the grid goes on at both ends: 0.3 % of a Gaussian lies beyond 256 draws.
_MARGIN = 0.25

# Most values of a column on a grid that are summed one by one; with more, the density is integrated.
_MOST_VALUES = 1024

# Levels that are named: the likeliest ones, until they hold this share. Chosen: it keeps the text short.
_MOST_LEVELS, _LEVELS_SHARE = 5, 0.95

# Densities are at least exp(-700) of the largest one, so that their logarithms are finite. Slopes below _FLAT nats of a
# segment are none.
_LEAST_LOG, _FLAT = -700.0, 1e-6

_SEED = 0


class Expected(NamedTuple):
    """What is expected in a cell.

    Attributes:
        low, middle, high: The 5 %, 50 % and 95 % quantile, data units; None for levels. On a circle, the range goes
            from low upwards to high, across the end of the period if high is the smaller number.
        levels: The likeliest levels with their probabilities, likeliest first; None for numbers.
        usual: The mean of -log p over values of the conditional itself, its entropy, nats in data units.
    """

    low: float | None
    middle: float | None
    high: float | None
    levels: tuple[tuple[str, float], ...] | None
    usual: float = 0.0


def expected(conditional: Conditional, column: Column) -> Expected:
    """Return what a conditional density of one column says."""
    if column.categories is not None or column.kind == "binary":
        return _levels(conditional, column)
    drawn = conditional.draw(_DRAWS, _SEED)[:, 0]
    if column.period is not None:
        return _on_circle(conditional, drawn, column.period)
    values = _values_on_grid(drawn, column)
    return _on_line(conditional, drawn) if values is None else _on_grid(conditional, values)


def _levels(conditional: Conditional, column: Column) -> Expected:
    """Return the likeliest levels of a column of text or 0/1."""
    if column.categories is None:
        log_prob, names = conditional.log_prob(np.array([[0.0], [1.0]])), ["0", "1"]
    else:
        log_prob, names = conditional.log_levels(), [column.categories[code] for code in column.frequent.tolist()]
        if column.has_other_level:
            names.append("another text")
    shares = np.exp(log_prob)
    order = np.argsort(-shares, kind="stable")
    needed = int((np.cumsum(shares[order]) < _LEVELS_SHARE * shares.sum()).sum()) + 1
    levels = tuple((names[k], float(shares[k])) for k in order[: min(needed, _MOST_LEVELS)].tolist())
    return Expected(None, None, None, levels, _mean_surprise(log_prob, shares))


def _values_on_grid(drawn: FloatArray, column: Column) -> FloatArray | None:
    """Return the values of a column of counts or with a grid around the draws; None without, and for too many."""
    step = 1.0 if column.kind == "count" else column.step
    if step is None:
        return None
    origin = 0.0 if column.kind == "count" else column.origin
    first, last = np.round((np.array([drawn.min(), drawn.max()]) - origin) / step)
    margin = np.ceil(_MARGIN * (last - first))
    first = max(first - margin, 0.0) if column.kind == "count" else first - margin
    if last + margin - first >= _MOST_VALUES:
        return None
    return np.asarray(origin + step * np.arange(first, last + margin + 1.0))


def _on_grid(conditional: Conditional, values: FloatArray) -> Expected:
    """Return what is expected of a column with these values (G,), increasing."""
    log_prob = conditional.log_prob(values[:, None])
    shares = np.exp(log_prob - log_prob.max())
    total = np.cumsum(shares)
    low, middle, high = values[np.searchsorted(total / total[-1], _QUANTILES)].tolist()
    return Expected(low, middle, high, None, _mean_surprise(log_prob, shares))


def _on_line(conditional: Conditional, drawn: FloatArray) -> Expected:
    """Return what is expected of a column of real numbers: integrate its density on a grid that follows the draws."""
    inner = np.quantile(drawn, np.linspace(0.0, 1.0, _GRID))
    reach = _MARGIN * (inner[-1] - inner[0])
    grid = np.unique(np.concatenate([inner, np.linspace(inner[0] - reach, inner[-1] + reach, _GRID)]))
    quantiles, usual = _integrated(conditional, grid, grid)
    return _of_quantiles(quantiles, usual)


def _on_circle(conditional: Conditional, drawn: FloatArray, period: float) -> Expected:
    """Return what is expected of an angle: the quantiles of its distance from the mean direction."""
    angles = drawn * (2.0 * np.pi / period)
    middle = np.arctan2(np.sin(angles).sum(), np.cos(angles).sum()) * period / (2.0 * np.pi)
    around = wrapped(drawn - middle + 0.5 * period, period) - 0.5 * period
    even = np.linspace(-0.5 * period, 0.5 * period, 2 * _GRID + 1)
    grid = np.unique(np.concatenate([np.quantile(around, np.linspace(0.0, 1.0, _GRID)), even]))
    quantiles, usual = _integrated(conditional, grid, wrapped(grid + middle, period))
    return _of_quantiles(wrapped(quantiles + middle, period), usual)


def _of_quantiles(quantiles: FloatArray, usual: float) -> Expected:
    low, middle, high = quantiles.tolist()
    return Expected(low, middle, high, None, usual)


def _integrated(conditional: Conditional, grid: FloatArray, values: FloatArray) -> tuple[FloatArray, float]:
    """Return quantiles and entropy of a density on a grid (G,), increasing, whose points stand for these values."""
    log_prob = conditional.log_prob(values[:, None])
    if len(grid) < 2:
        return np.full(len(_QUANTILES), grid[0]), -float(log_prob[0])
    areas, means = _segments(np.maximum(log_prob - log_prob.max(), _LEAST_LOG))
    areas = areas * np.diff(grid)
    total = np.concatenate([[0.0], np.cumsum(areas)])
    return np.interp(_QUANTILES, total / total[-1], grid), _mean_surprise(means + log_prob.max(), areas)


def _segments(log_density: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the mean density of each segment and the mean of its logarithm under it, (G,) -> (G - 1,), (G - 1,).

    The logarithm is taken as linear between the ends.
    """
    before, after = log_density[:-1], log_density[1:]
    low, high = np.exp(before), np.exp(after)
    is_flat = np.abs(after - before) < _FLAT
    slope, rise = np.where(is_flat, 1.0, after - before), np.where(is_flat, 1.0, high - low)
    areas = np.where(is_flat, 0.5 * (low + high), rise / slope)
    with np.errstate(invalid="ignore", divide="ignore"):  # both ends underflow: the segment counts for nothing
        means = np.where(is_flat, 0.5 * (before + after), (after * high - before * low) / rise - 1.0)
    return areas, np.where(areas > 0.0, means, 0.0)


def _mean_surprise(log_prob: FloatArray, weights: FloatArray) -> float:
    """Return the mean of -log p under weights (G,)."""
    return -float((np.where(weights > 0.0, log_prob, 0.0) * weights).sum() / weights.sum())
