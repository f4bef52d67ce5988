r"""Thresholds and p-values with finite-sample guarantees from scores of rows the model never saw: pure functions.

Split conformal: if a new normal row is exchangeable with the n calibration rows, then
:math:`p = (1 + \#\{i : s_i \le s\}) / (n + 1)` satisfies :math:`P(p \le \alpha) \le \alpha` for every alpha.
A row that ranks below every other (a novelty) has the score minus infinity.

References:
    Testing for Outliers with Conformal p-values (Bates et al., 2023), https://arxiv.org/abs/2104.08279
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.densities import FloatArray
from anomaly_vae.manifest import Calibration

__all__ = [
    "calibrate",
    "caveats",
    "conformal_p_value",
    "rank",
    "rows_needed",
    "threshold_at_rank",
    "threshold_rank",
]


def calibrate(
    log_px: FloatArray, novel: NDArray[np.bool_], target_fpr: float, confidence: float | None = None
) -> tuple[Calibration, FloatArray]:
    """Calibrate on rows the model never saw; with too few rows for the target, at rank 1 of them.

    Args:
        log_px: Their scores, nats, shape (n,).
        novel: Which of them rank below every other, shape (n,).
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
    r"""The rank k of the threshold among n sorted calibration scores; 0 if n is too small for the target.

    Flagging the scores strictly below the k-th smallest has a false-positive rate of at most k / (n + 1), averaged
    over calibration sets:

    .. math:: k = \lfloor \alpha (n + 1) + 10^{-9} \rfloor,

    in exact arithmetic on alpha as it is written. With a confidence, the rate is at most alpha with that probability
    over calibration sets:

    .. math:: k = \max \{ k : \mathrm{BinomCDF}(k - 1; n, \alpha) \le 1 - \mathrm{confidence} \}

    References:
        Conditional Validity of Inductive Conformal Predictors (Vovk, 2012), https://arxiv.org/abs/1209.2673
    """
    if confidence is None:
        return math.floor(Fraction(repr(float(target_fpr))) * (n + 1) + Fraction(1, 10**9))
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
    """Fewest calibration rows for which a threshold at this target exists."""
    if confidence is None:
        return math.ceil(1 / Fraction(repr(float(target_fpr)))) - 1
    return math.ceil(math.log(1.0 - confidence) / math.log1p(-target_fpr))


def threshold_at_rank(calibration: FloatArray, novel: int, k: int) -> float:
    """The k-th smallest calibration score, finite.

    Args:
        calibration: Sorted finite scores, nats, shape (n - novel,).
        novel: How many further calibration rows rank below every other.
        k: Rank, from 1 to n.

    Returns:
        Nats. Where rows without a finite rank use up all k places, the lowest float, under which nothing falls.
    """
    if k <= novel:
        return -float(np.finfo(np.float64).max)
    return float(calibration[k - novel - 1])


def rank(calibration: FloatArray, novel: int, scores: FloatArray) -> NDArray[np.int64]:
    """How many of the n calibration scores are at most each score (``-inf``: a novelty), shape (N,)."""
    return np.asarray(novel + np.searchsorted(calibration, scores, side="right"), dtype=np.int64)


def conformal_p_value(ranks: NDArray[np.int64], n: int) -> FloatArray:
    """Split-conformal p-values (1 + rank) / (n + 1), in (0, 1], shape (N,)."""
    return np.asarray((1.0 + ranks) / (n + 1.0))


def caveats(record: Calibration) -> list[str]:
    """What a user should know of a calibration that cannot do what was asked, one sentence each."""
    found = []
    n, asked = record.num_rows, record.target_fpr
    if threshold_rank(n, asked, record.confidence) == 0:
        found.append(
            f"{n} calibration rows are too few for target_fpr {asked:g}, which needs "
            f"n >= {rows_needed(asked, record.confidence)}; the threshold is the lowest of their scores, the effective "
            f"target {record.effective_fpr:.3g}"
        )
    if record.num_novel >= record.rank:
        found.append(
            f"{record.num_novel} of {n} calibration rows have another value in a column that was constant in training, "
            "so no threshold can flag anything at this target; train on rows in which the column varies, or exclude it"
        )
    return found
