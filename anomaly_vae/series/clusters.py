r"""Dependent windows: how many low scores come together, and calibration scores that allow for it.

Neighbouring windows share most of their steps, so one rare event gives many low scores. Conformal p-values need scores
that are exchangeable, and n dependent scores say less than n independent ones.

The lowest of n dependent scores are distributed as those of :math:`n \theta` independent ones, where
:math:`1 / \theta` is the mean size of a cluster of low scores and theta the extremal index. So with clusters of m
scores, :func:`thinned` keeps the smallest of each m sorted scores. If clusters are perfectly dependent (n / m
independent events, each of m equal scores), exactly one score of each event is left, and the p-value
:math:`(1 + r) / (n / m + 1)` is the conformal one of n / m independent scores, which holds exactly. If the scores are
independent after all, it is never smaller than the p-value of all n. With r of the n scores at or below a new one:

.. math:: \frac{1 + \lceil r / m \rceil}{\lfloor n / m \rfloor + 1}
    \ge \frac{1 + r / m}{n / m + 1} \ge \frac{1 + r}{n + 1}

With two thresholds, high scores come in clusters as well. Then the lower half of the scores keeps the smallest of each
group, and the upper half the largest, both counted from their ends, so that the same holds on either side.

References:
    Estimating the Extremal Index (Smith & Weissman, 1994), https://doi.org/10.1111/j.2517-6161.1994.tb01997.x
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.record import Tail

__all__ = ["LOW_QUANTILE", "cluster_size", "independent", "thinned"]

# The scores that count as low. Chosen, not measured: a lower quantile is nearer to the threshold, and has fewer
# clusters to count.
LOW_QUANTILE = 0.05


def cluster_size(
    scores: FloatArray,
    segments: NDArray[np.integer],
    ends: NDArray[np.integer],
    length: int,
    quantile: float = LOW_QUANTILE,
) -> float:
    r"""Return the mean number of low scores in a cluster: the runs estimator of :math:`1 / \theta`, at least 1.

    Two low scores belong to one cluster if the windows of neighbouring ones share a step.

    Args:
        scores: Scores of windows, nats, shape (N,), N at least 1.
        segments: The segment of each window, shape (N,).
        ends: The step at which each window ends, shape (N,).
        length: Steps of a window.
        quantile: The share of the scores that count as low; always at least one score.
    """
    limit = np.partition(scores, k := max(math.ceil(quantile * len(scores)) - 1, 0))[k]
    low = np.flatnonzero(scores <= limit)
    low = low[np.lexsort((ends[low], segments[low]))]
    apart = (np.diff(segments[low]) != 0) | (np.diff(ends[low]) >= length)
    return float(len(low) / (1 + np.count_nonzero(apart)))


def thinned(scores: FloatArray, cluster: float, tail: Tail = "low") -> NDArray[np.intp]:
    """Return which calibration scores count as independent: the smallest of each m sorted scores, m = ceil(cluster).

    With the tail "both", it is the largest of each m in the upper half.

    Args:
        scores: Scores, nats, shape (n,); minus infinity for windows that rank below all others.
        cluster: The size of a cluster, at least 1; see :func:`cluster_size`.
        tail: Whether only low scores are anomalies, or also high ones.

    Returns:
        Indices, by increasing score, shape (n // m,) or one less, at least one on each side. The last group of a side
        with fewer than m scores is left out.
    """
    order = np.argsort(scores, kind="stable")
    if tail == "low":
        return _first_of_groups(order, cluster)
    half = len(order) // 2
    low, high = _first_of_groups(order[:half], cluster), _first_of_groups(order[half:][::-1], cluster)
    return np.concatenate([low, high[::-1]])


def _first_of_groups(order: NDArray[np.intp], cluster: float) -> NDArray[np.intp]:
    """Return the first of each m entries, m = ceil(cluster), at least one."""
    group = min(math.ceil(cluster), max(len(order), 1))
    return order[: len(order) // group * group : group]


def independent(
    scores: FloatArray,
    segments: NDArray[np.integer],
    ends: NDArray[np.integer],
    length: int,
    tail: Tail = "low",
) -> NDArray[np.intp]:
    """Return which calibration windows count as independent, as :func:`thinned` does.

    Args:
        scores, segments, ends, length: As for :func:`cluster_size`; minus infinity for windows below all others.
        tail: As for :func:`thinned`.
    """
    size = cluster_size(scores, segments, ends, length)
    if tail == "both":
        size = max(size, cluster_size(-scores, segments, ends, length))
    return thinned(scores, size, tail)
