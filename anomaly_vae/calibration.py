r"""Thresholds and conformal p-values from scores of calibration rows, which the model did not train on. Pure functions.

Split conformal prediction: if a new normal row is exchangeable with the n calibration rows, then
:math:`p = (1 + \#\{i : s_i \le s\}) / (n + 1)` satisfies :math:`P(p \le \alpha) \le \alpha` for every alpha.
Some rows rank below all others whatever their scores; see :mod:`anomaly_vae.columns.novelty`. Among the n rows they
are only counted, and as new rows they have the score minus infinity here.

References:
    Testing for Outliers with Conformal p-values (Bates et al., 2023), https://arxiv.org/abs/2104.08279
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.errors import ConfigError
from anomaly_vae.record import Count, Positive, Rate, Record

__all__ = [
    "Calibration",
    "calibrate",
    "caveats",
    "conformal_p_value",
    "lowest_target",
    "rank",
    "rank_for",
    "rows_needed",
    "threshold_at_rank",
    "threshold_rank",
    "usable_rank",
]

# Added before rounding down, so that a target slightly below a multiple of 1 / (n + 1) still reaches it.
_ROUNDING_SLACK = Fraction(1, 10**9)

# Rates in messages are multiples of 1 / 10**6.
_DECIMALS = 10**6


class Calibration(Record):
    """The threshold and its origin.

    Attributes:
        num_rows: n, the number of calibration rows.
        num_novel: How many of them rank below all others, because of a value that training never had; fewer than rank.
        target_fpr: alpha, the requested false-positive rate.
        confidence: Confidence that the false-positive rate is at most alpha; None bounds its mean.
        rank: k; the threshold is the k-th smallest score.
        effective_fpr: k / (n + 1).
        threshold: The k-th smallest score, nats.
    """

    num_rows: Positive
    num_novel: Count
    target_fpr: Rate
    confidence: Rate | None
    rank: Positive
    effective_fpr: Rate
    threshold: float


def calibrate(
    scores: FloatArray, lowest: NDArray[np.bool_], target_fpr: float, confidence: float | None = None
) -> tuple[Calibration, FloatArray]:
    """Compute the threshold from calibration scores; with too few rows for the target, it is the lowest score.

    Args:
        scores: Scores of the calibration rows, nats, shape (n,).
        lowest: Which of them rank below all others, shape (n,); fewer than :func:`usable_rank`.
        target_fpr: Share of normal rows that may be flagged.
        confidence: Confidence for that share over calibration sets; None bounds its mean.

    Returns:
        The record for the manifest, and the sorted scores of the other rows.
    """
    n = len(scores)
    k = usable_rank(n, target_fpr, confidence)
    kept, num_novel = np.sort(scores[~lowest]), int(lowest.sum())
    record = Calibration(
        num_rows=n,
        num_novel=num_novel,
        target_fpr=target_fpr,
        confidence=confidence,
        rank=k,
        effective_fpr=k / (n + 1),
        threshold=threshold_at_rank(kept, num_novel, k),
    )
    return record, kept


def threshold_rank(n: int, target_fpr: float, confidence: float | None = None) -> int:
    r"""Return the rank k of the threshold among n sorted calibration scores; 0 if n is too small for the target.

    Flagging the scores strictly below the k-th smallest has a false-positive rate of at most k / (n + 1), averaged
    over calibration sets:

    .. math:: k = \lfloor \alpha (n + 1) + 10^{-9} \rfloor,

    in exact arithmetic on the shortest decimal form of alpha. With a confidence, the rate is at most alpha with that
    probability over calibration sets:

    .. math:: k = \max \{ k : \mathrm{BinomCDF}(k - 1; n, \alpha) \le 1 - \mathrm{confidence} \}

    References:
        Conditional Validity of Inductive Conformal Predictors (Vovk, 2012), https://arxiv.org/abs/1209.2673
    """
    if confidence is None:
        return math.floor(Fraction(repr(float(target_fpr))) * (n + 1) + _ROUNDING_SLACK)
    log_odds = math.log(target_fpr) - math.log1p(-target_fpr)
    log_pmf, cumulative, k = n * math.log1p(-target_fpr), 0.0, 0
    while k < n:
        cumulative += math.exp(log_pmf)
        if cumulative > 1.0 - confidence:
            break
        k += 1
        log_pmf += log_odds + math.log((n - k + 1) / k)
    return k


def rows_needed(target_fpr: float, confidence: float | None = None) -> int:
    """Return the smallest number of calibration rows for which a threshold at this target exists."""
    if confidence is None:
        return math.ceil(1 / Fraction(repr(float(target_fpr)))) - 1
    return math.ceil(math.log(1.0 - confidence) / math.log1p(-target_fpr))


def usable_rank(n: int, target_fpr: float, confidence: float | None = None) -> int:
    """Return the rank of the threshold; 1, the lowest score, if n is too small for the target."""
    return max(threshold_rank(n, target_fpr, confidence), 1)


def lowest_target(n: int, k: int, confidence: float | None = None) -> float:
    """Return the lowest false-positive rate whose threshold has at least rank k, rounded up to 6 decimals."""
    if confidence is None:
        return math.ceil(Fraction(k * _DECIMALS, n + 1)) / _DECIMALS
    low, high = 0, _DECIMALS  # the rank is below k at low, and not at high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if threshold_rank(n, middle / _DECIMALS, confidence) >= k else (middle, high)
    return high / _DECIMALS


def threshold_at_rank(calibration: FloatArray, num_novel: int, k: int) -> float:
    """Return the k-th smallest calibration score, nats.

    Args:
        calibration: Sorted scores of the rows that do not rank below all others, nats, shape (n - num_novel,).
        num_novel: How many rows rank below all others.
        k: Rank, from num_novel + 1 to n.
    """
    return float(calibration[k - num_novel - 1])


def rank(calibration: FloatArray, num_novel: int, scores: FloatArray) -> NDArray[np.int64]:
    """Return how many of the n calibration rows rank at or below each score, shape (N,).

    Args:
        calibration, num_novel: As for :func:`threshold_at_rank`.
        scores: Nats, shape (N,); ``-inf`` for a row that ranks below all others.
    """
    return np.asarray(num_novel + np.searchsorted(calibration, scores, side="right"), dtype=np.int64)


def conformal_p_value(ranks: NDArray[np.int64], n: int) -> FloatArray:
    """Return split-conformal p-values (1 + rank) / (n + 1), in (0, 1], shape (N,)."""
    return np.asarray((1.0 + ranks) / (n + 1.0))


def caveats(record: Calibration) -> list[str]:
    """Return one warning for each reason why the calibration does not meet the requested target."""
    warnings = []
    n, target = record.num_rows, record.target_fpr
    if threshold_rank(n, target, record.confidence) == 0:
        warnings.append(
            f"{n} calibration rows are too few for target_fpr {target:g}, which needs "
            f"n >= {rows_needed(target, record.confidence)}; the threshold is the lowest of their scores, "
            f"the effective target {record.effective_fpr:.3g}"
        )
    return warnings


def rank_for(calibration: Calibration, target_fpr: float) -> int:
    """Return the rank k of the threshold for another false-positive rate than that of the calibration.

    Raises:
        ConfigError: There are too few calibration rows for that rate, or rows that rank below all others use it up.
    """
    n, confidence = calibration.num_rows, calibration.confidence
    k = threshold_rank(n, target_fpr, confidence)
    if k == 0:
        raise ConfigError(
            f"target_fpr {target_fpr:g} needs at least {rows_needed(target_fpr, confidence)} calibration rows, "
            f"the model has {n}; calibrate with more rows, or use a higher target_fpr"
        )
    if k <= calibration.num_novel:
        raise ConfigError(
            f"target_fpr {target_fpr:g} is too low: its threshold has rank {k}, and {calibration.num_novel} of the "
            f"{n} calibration rows rank below all others because of values that training never had. The lowest "
            f"possible target is {lowest_target(n, calibration.num_novel + 1, confidence):g}; use that or more, or "
            "calibrate for this target"
        )
    return k
