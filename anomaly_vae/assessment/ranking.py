"""The order of rows from the most to the least anomalous one, and how well it separates anomalies from normal rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.calibration import normality
from anomaly_vae.scores import Scores

__all__ = [
    "DetectionQuality",
    "Judged",
    "LevelCounts",
    "auroc",
    "average_precision",
    "average_ranks",
    "count_levels",
    "detection_quality",
    "levels_of",
    "order_columns",
    "recall_at",
]

# Added to a number of rows before it is rounded down, so that 0.3 of 10 rows are 3.
_ROUNDING_SLACK = 1e-9


class Judged(NamedTuple):
    """What a model says about N rows.

    Attributes:
        scores: The scores, with p-values and flags.
        ranks_lowest: Which rows rank below all others, because of a value that training never had, shape (N,).
        thresholds: The threshold of the score and the upper one, or None, nats.
    """

    scores: Scores
    ranks_lowest: NDArray[np.bool_]
    thresholds: tuple[float, float | None]

    @property
    def levels(self) -> NDArray[np.int64]:
        """The rows in the order of :func:`order_columns`: 0 for the most anomalous ones, shape (N,)."""
        return levels_of(order_columns(self.scores, self.ranks_lowest, self.thresholds))

    @property
    def p_value(self) -> FloatArray:
        """The p-values, shape (N,); ValueError without a calibration."""
        if self.scores.p_value is None:
            raise ValueError("scores without p-values cannot be assessed")
        return self.scores.p_value

    @property
    def flags(self) -> NDArray[np.bool_]:
        """Which rows are flagged, shape (N,); ValueError without a calibration."""
        if self.scores.is_anomaly is None:
            raise ValueError("scores without flags cannot be assessed")
        return self.scores.is_anomaly


class LevelCounts(NamedTuple):
    """Rows at each level of an order, from the most to the least anomalous level.

    Attributes:
        normal: Normal rows at each level, shape (K,).
        anomalous: Anomalies at each level, shape (K,).
    """

    normal: NDArray[np.int64]
    anomalous: NDArray[np.int64]


class DetectionQuality(NamedTuple):
    """AUROC and average precision, with anomalies as the positive class."""

    auroc: float
    average_precision: float


def order_columns(
    scores: Scores, ranks_lowest: NDArray[np.bool_], thresholds: tuple[float, float | None]
) -> FloatArray:
    """Return the keys that sort rows from the most to the least anomalous one, shape (N, 3).

    Rows that rank below all others come first. Then p-values decide, where there are any, then scores; with two
    thresholds the distance beyond the nearer one.

    Args:
        scores: Scores of N rows.
        ranks_lowest: Which rows rank below all others, shape (N,).
        thresholds: The threshold and the upper one, or None, nats.
    """
    p_value = np.zeros(len(scores)) if scores.p_value is None else scores.p_value
    return np.column_stack([~ranks_lowest, p_value, normality(scores.score, *thresholds)]).astype(np.float64)


def levels_of(keys: FloatArray) -> NDArray[np.int64]:
    """Return the place of each row of keys (N, M) in lexicographic order: 0, 1, ...; equal rows share one, (N,)."""
    order = np.lexsort(keys.T[::-1])
    ordered = keys[order]
    steps = (ordered[1:] != ordered[:-1]).any(axis=1)  # a difference of equal infinities would be NaN
    levels = np.empty(len(keys), dtype=np.int64)
    levels[order] = np.concatenate([np.zeros(min(len(keys), 1), dtype=np.int64), np.cumsum(steps)])
    return levels


def count_levels(levels: NDArray[np.int64], labels: NDArray[np.bool_]) -> LevelCounts:
    """Count normal rows and anomalies at each level.

    Args:
        levels: As from :func:`levels_of`, shape (N,).
        labels: Which rows are anomalies, shape (N,).
    """
    size = int(levels.max()) + 1 if len(levels) else 0
    return LevelCounts(np.bincount(levels[~labels], minlength=size), np.bincount(levels[labels], minlength=size))


def auroc(counts: LevelCounts) -> float:
    """Return the area under the ROC curve: P(an anomaly ranks before a normal row), ties count half.

    It is the Mann-Whitney statistic U / (n_normal n_anomalous). NaN if one of the classes has no row.
    """
    normal, anomalous = counts
    seen = np.cumsum(normal)
    if not len(seen) or not seen[-1] or not anomalous.any():
        return float("nan")
    after = seen[-1] - seen + 0.5 * normal
    return float(anomalous @ after / (float(seen[-1]) * float(anomalous.sum())))


def average_precision(counts: LevelCounts) -> float:
    """Return the average precision, sum over levels of (R_k - R_(k-1)) P_k, as scikit-learn defines it.

    NaN if there is no anomaly.
    """
    true_positives, flagged = np.cumsum(counts.anomalous), np.cumsum(counts.anomalous + counts.normal)
    if not len(flagged) or not true_positives[-1]:
        return float("nan")
    precision = true_positives / np.maximum(flagged, 1)
    return float(counts.anomalous @ precision / true_positives[-1])


def recall_at(counts: LevelCounts, rates: FloatArray) -> FloatArray:
    """Return the largest recall on the ROC curve with at most these false-positive rates, shape (R,).

    Args:
        counts: Rows by level.
        rates: False-positive rates of these normal rows, shape (R,).
    """
    false_positives, true_positives = np.cumsum(counts.normal), np.cumsum(counts.anomalous)
    allowed = np.floor(rates * false_positives[-1] + _ROUNDING_SLACK)
    last = np.searchsorted(false_positives, allowed, side="right")
    return np.asarray(np.append(0.0, true_positives)[last] / max(int(true_positives[-1]), 1))


def detection_quality(normal: FloatArray, anomalous: FloatArray) -> DetectionQuality:
    """Return the detection quality of scores, lower for anomalies, of normal and of anomalous rows, each (N,)."""
    labels = np.repeat([False, True], [len(normal), len(anomalous)])
    counts = count_levels(levels_of(np.concatenate([normal, anomalous])[:, None]), labels)
    return DetectionQuality(auroc(counts), average_precision(counts))


def average_ranks(values: FloatArray) -> FloatArray:
    """Return the ranks 1 to N of values (N,); equal values share their mean rank."""
    levels = levels_of(values[:, None])
    counts = np.bincount(levels)
    last = np.cumsum(counts)
    return np.asarray((last - 0.5 * (counts - 1))[levels])
