"""Shares of rows with exact intervals, and the distribution of the share that a calibrated threshold flags."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from anomaly_vae.record import Record

__all__ = ["Proportion", "beta_binomial_tail", "beta_quantile", "clopper_pearson", "incomplete_beta", "proportion"]

# Steps of the continued fraction, at most, and the relative error at which it ends. It needs about the square root of
# the larger parameter, so this is enough for 10**9 rows.
_MOST_STEPS, _TOLERANCE = 100_000, 1e-15
_TINY = 1e-300

# Halvings of [0, 1]: the interval then has the width of the smallest steps of float64 near 10**-9.
_HALVINGS = 80


class Proportion(Record):
    """A share of rows.

    Attributes:
        count: Rows that have it.
        total: All rows.
        share: count / total.
        low, high: Clopper-Pearson interval of the share.
    """

    count: int
    total: int
    share: float
    low: float
    high: float


def proportion(count: int, total: int, confidence: float) -> Proportion | None:
    """Return count / total with its Clopper-Pearson interval; None if there are no rows."""
    if not total:
        return None
    low, high = clopper_pearson(count, total, confidence)
    return Proportion(count=int(count), total=int(total), share=float(count / total), low=low, high=high)


def clopper_pearson(count: int, total: int, confidence: float) -> tuple[float, float]:
    """Return the exact interval of a share: it holds the true one with at least this probability.

    Args:
        count: Rows that have it.
        total: All rows, at least 1.
        confidence: Probability, such as 0.95; each side errs with half of the rest.

    References:
        The Use of Confidence or Fiducial Limits (Clopper & Pearson, 1934), https://doi.org/10.1093/biomet/26.4.404
    """
    tail = (1.0 - confidence) / 2.0
    low = 0.0 if count == 0 else beta_quantile(tail, count, total - count + 1.0)
    high = 1.0 if count == total else beta_quantile(1.0 - tail, count + 1.0, total - count)
    return low, high


def beta_quantile(probability: float, a: float, b: float) -> float:
    """Return x with I_x(a, b) = probability, by bisection.

    Args:
        probability: Between 0 and 1.
        a, b: Parameters of the beta distribution, positive.
    """
    return _bisected(lambda x: incomplete_beta(x, a, b) < probability)


def _bisected(is_below: Callable[[float], bool]) -> float:
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if is_below(middle) else (low, middle)
    return 0.5 * (low + high)


def incomplete_beta(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b): the distribution function of Beta(a, b) at x.

    References:
        Numerical Recipes (Press et al., 2007), section 6.4: the continued fraction by Lentz's method.
    """
    if x <= 0.0 or x >= 1.0:
        return float(x >= 1.0)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    if x < (a + 1.0) / (a + b + 2.0):
        return math.exp(log_front) * _continued_fraction(x, a, b) / a
    return 1.0 - math.exp(log_front) * _continued_fraction(1.0 - x, b, a) / b


def _continued_fraction(x: float, a: float, b: float) -> float:
    c, d = 1.0, 1.0 / _away_from_zero(1.0 - (a + b) * x / (a + 1.0))
    value = d
    for m in range(1, _MOST_STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        for step in (even, odd):
            d = 1.0 / _away_from_zero(1.0 + step * d)
            c = _away_from_zero(1.0 + step / c)
            value *= c * d
        if abs(c * d - 1.0) < _TOLERANCE:
            break
    return value


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def beta_binomial_tail(count: int, total: int, a: float, b: float) -> float:
    """Return P(X >= count) for X of the beta-binomial distribution.

    If a threshold is the k-th smallest of n calibration scores and m new rows are exchangeable with them, the number of
    new rows below it is beta-binomial with m rows, a = k and b = n + 1 - k.

    Args:
        count: Rows, from 0 to total.
        total: All rows, m.
        a, b: Parameters, positive.
    """
    x = np.arange(total)
    # log P(x + 1) - log P(x); P(0) = B(a, total + b) / B(a, b)
    ratios = np.log((total - x) * (x + a)) - np.log((x + 1.0) * (total - x - 1.0 + b))
    first = math.lgamma(total + b) + math.lgamma(a + b) - math.lgamma(total + a + b) - math.lgamma(b)
    probabilities = np.exp(first + np.concatenate([[0.0], np.cumsum(ratios)]))
    return float(min(probabilities[count:].sum(), 1.0))
