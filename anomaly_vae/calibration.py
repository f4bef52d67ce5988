r"""Thresholds and conformal p-values from scores of calibration rows, which the model did not train on. Pure functions.

Split conformal prediction: if a new normal row is exchangeable with the n calibration rows, then
:math:`p = (1 + \#\{i : s_i \le s\}) / (n + 1)` satisfies :math:`P(p \le \alpha) \le \alpha` for every alpha.
A novelty, a row that ranks below every other row, has the score minus infinity.

References:
    Testing for Outliers with Conformal p-values (Bates et al., 2023), https://arxiv.org/abs/2104.08279
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.record import Count, Positive, Rate, Record

__all__ = [
    "Calibration",
    "calibrate",
    "caveats",
    "conformal_p_value",
    "rank",
    "rows_needed",
    "threshold_at_rank",
    "threshold_rank",
]

# Added before rounding down, so that a target slightly below a multiple of 1 / (n + 1) still reaches it.
_ROUNDING_SLACK = Fraction(1, 10**9)


class Calibration(Record):
    """The threshold and its origin.

    Attributes:
        num_rows: n, the number of calibration rows.
        num_novel: How many of them are novelties: rows with a changed constant column, a new category and the like.
        target_fpr: alpha, the requested false-positive rate.
        confidence: Confidence that the false-positive rate is at most alpha; None bounds its mean.
        rank: k; the threshold is the k-th smallest score.
        effective_fpr: k / (n + 1).
        threshold: Nats.
    """

    num_rows: Positive
    num_novel: Count
    target_fpr: Rate
    confidence: Rate | None
    rank: Positive
    effective_fpr: Rate
    threshold: float


def calibrate(
    log_px: FloatArray, novel: NDArray[np.bool_], target_fpr: float, confidence: float | None = None
) -> tuple[Calibration, FloatArray]:
    """Compute the threshold from calibration scores; with too few rows for the target, it is the lowest score.

    Args:
        log_px: Scores of the calibration rows, nats, shape (n,).
        novel: Which of them are novelties, shape (n,).
        target_fpr: Share of normal rows that may be flagged.
        confidence: Confidence for that share over calibration sets; None bounds its mean.

    Returns:
        The record for the manifest, and the sorted finite scores.
    """
    n = len(log_px)
    k = max(threshold_rank(n, target_fpr, confidence), 1)
    scores, num_novel = np.sort(log_px[~novel]), int(novel.sum())
    record = Calibration(
        num_rows=n,
        num_novel=num_novel,
        target_fpr=target_fpr,
        confidence=confidence,
        rank=k,
        effective_fpr=k / (n + 1),
        threshold=threshold_at_rank(scores, num_novel, k),
    )
    return record, scores


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


def threshold_at_rank(calibration: FloatArray, novel: int, k: int) -> float:
    """Return the k-th smallest calibration score, always finite.

    Args:
        calibration: Sorted finite scores, nats, shape (n - novel,).
        novel: Number of novelties among the calibration rows.
        k: Rank, from 1 to n.

    Returns:
        Nats. If at least k calibration rows are novelties, the lowest float: no score is below it.
    """
    if k <= novel:
        return -float(np.finfo(np.float64).max)
    return float(calibration[k - novel - 1])


def rank(calibration: FloatArray, novel: int, scores: FloatArray) -> NDArray[np.int64]:
    """Return how many of the n calibration scores are at most each score, shape (N,); ``-inf`` marks a novelty."""
    return np.asarray(novel + np.searchsorted(calibration, scores, side="right"), dtype=np.int64)


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
    if record.num_novel >= record.rank:
        warnings.append(
            f"{record.num_novel} of {n} calibration rows have another value in a column that was constant in training, "
            "so no threshold can flag anything at this target; train on rows in which the column varies, or exclude it"
        )
    return warnings
