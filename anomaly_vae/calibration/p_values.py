"""What calibration scores say about new scores: ranks, p-values, and the distance to the thresholds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.calibration.ranks import sides
from anomaly_vae.record import Tail

__all__ = ["conformal_p_value", "margins", "normality", "rank", "rank_from_top"]


def margins(scores: FloatArray, low: float, high: float | None) -> FloatArray:
    """Return how far scores (N,) are inside the thresholds, nats, (N,); negative exactly for anomalies.

    Args:
        scores: Nats.
        low: The threshold, nats.
        high: The upper threshold, nats; None if there is none.
    """
    return scores - low if high is None else np.minimum(scores - low, high - scores)


def normality(scores: FloatArray, low: float, high: float | None) -> FloatArray:
    """Return scores (N,) in an order in which anomalies come first: with two thresholds, those of :func:`margins`."""
    return scores if high is None else margins(scores, low, high)


def rank(calibration: FloatArray, num_novel: int, scores: FloatArray) -> NDArray[np.int64]:
    """Return how many of the n calibration rows rank at or below each score, shape (N,).

    Args:
        calibration, num_novel: As for :func:`anomaly_vae.calibration.record.threshold_at_rank`.
        scores: Nats, shape (N,); ``-inf`` for a row that ranks below all others.
    """
    return np.asarray(num_novel + np.searchsorted(calibration, scores, side="right"), dtype=np.int64)


def rank_from_top(calibration: FloatArray, num_novel: int, scores: FloatArray) -> NDArray[np.int64]:
    """Return how many of the n calibration rows rank at or above each score, shape (N,).

    Args:
        calibration, num_novel, scores: As for :func:`rank`.
    """
    below = np.searchsorted(calibration, scores, side="left")
    novel = np.where(np.isneginf(scores), num_novel, 0)
    return np.asarray(len(calibration) - below + novel, dtype=np.int64)


def conformal_p_value(ranks: NDArray[np.int64], n: int, tail: Tail = "low") -> FloatArray:
    """Return split-conformal p-values (1 + rank) / (n + 1), in (0, 1], shape (N,).

    Args:
        ranks: Shape (N,); for the tail "both" the smaller one of :func:`rank` and :func:`rank_from_top`.
        n: Number of calibration rows.
        tail: With "both", p-values are twice as large, and at most 1.
    """
    return np.asarray(np.minimum(sides(tail) * (1.0 + ranks) / (n + 1.0), 1.0))
