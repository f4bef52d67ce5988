r"""The volume under the precision-recall surface (VUS-PR) of TSB-AD, and the window over which it forgives.

A label is widened on both sides by w / 2 steps, with weights that fall to the sides, for all w from 0 to a window. Each
w has a precision-recall curve over 250 thresholds, in which recall is multiplied by the share of the anomalies that are
found at all. The volume is the mean of the areas.

References:
    Volume Under the Surface (Paparrizos et al., 2022); the package vus, whose numbers these are
    The Elephant in the Room: Towards a Reliable Time-Series Anomaly Detection Benchmark (Liu & Paparrizos, 2024)
"""

from __future__ import annotations

import itertools

import numpy as np

__all__ = ["THRESHOLDS", "period", "vus_pr"]

# Thresholds of a curve, as in TSB-AD.
THRESHOLDS = 250

# The rule for the window in TSB-AD: the first steps of a series, the largest lag, the lags that count, and the default.
_STEPS, _MOST_LAGS, _LEAST_LAG, _LARGEST_LAG, _DEFAULT = 20_000, 400, 3, 300, 125

_Segments = list[tuple[int, int]]


def period(values: np.ndarray) -> int:
    """Return the window of the metric, steps: the lag of the largest local maximum of the autocorrelation of (T,)."""
    centred = values[:_STEPS] - np.mean(values[:_STEPS])
    size = 1 << (2 * len(centred) - 1).bit_length()
    products = np.fft.irfft(np.abs(np.fft.rfft(centred, size)) ** 2, size)[: _MOST_LAGS + 1]
    correlation = (products[: len(centred)] / products[0])[_LEAST_LAG:]
    peaks = np.flatnonzero((correlation[1:-1] > correlation[:-2]) & (correlation[1:-1] > correlation[2:])) + 1
    if not len(peaks):
        return _DEFAULT
    # The limits hold for the lag without the first lags, as in TSB-AD.
    lag = int(peaks[np.argmax(correlation[peaks])])
    return lag + _LEAST_LAG if _LEAST_LAG <= lag <= _LARGEST_LAG else _DEFAULT


def vus_pr(scores: np.ndarray, labels: np.ndarray, window: int) -> float:
    """Return the volume, between 0 and 1.

    It equals that of the package vus but for rounding, and takes about a hundredth of the time.

    Args:
        scores: Higher where more anomalous, shape (T,).
        labels: 1 at anomalous steps, else 0, shape (T,); one at least.
        window: The largest widening, steps.
    """
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    size, anomalies = len(scores), _segments(labels)
    descending = -np.sort(-scores)
    thresholds = descending[np.linspace(0, size - 1, THRESHOLDS).astype(int)]
    flagged = size - np.searchsorted(descending[::-1], thresholds, side="left")
    near = np.concatenate([np.arange(first, last + 1) for first, last in _widened(anomalies, window, size)])
    inside = labels[near] == 1
    found = (scores[near, None] >= thresholds).astype(np.float64)
    widths = range(window + 1)
    weights = np.stack([_weights(labels, anomalies, width)[near] for width in widths])
    hits = weights @ found
    # Only the widened steps that are flagged count as anomalous, and the labelled ones in any case.
    counted = weights[:, ~inside] @ found[~inside] + inside.sum()
    recall = np.minimum(hits / ((labels.sum() + counted) / 2), 1.0)
    existence = np.stack([_existence(scores, _widened(anomalies, width, size), thresholds) for width in widths])
    steps = np.diff(recall * existence, axis=1, prepend=0.0)
    return float((steps * (hits / flagged)).sum(axis=1).mean())


def _segments(labels: np.ndarray) -> _Segments:
    """Return the first and the last step of each run of ones."""
    edges = np.diff(labels, prepend=0, append=0)
    return list(zip(np.flatnonzero(edges == 1).tolist(), (np.flatnonzero(edges == -1) - 1).tolist(), strict=True))


def _widened(anomalies: _Segments, width: int, size: int) -> _Segments:
    """Return the anomalies with ``width`` // 2 steps on both sides; those that touch are one."""
    half = width // 2
    found = [(max(anomalies[0][0] - half, 0), 0)]
    for (_, last), (first, _) in itertools.pairwise(anomalies):
        if last + half < first - half:
            found[-1] = (found[-1][0], last + half)
            found.append((first - half, 0))
    found[-1] = (found[-1][0], min(anomalies[-1][1] + half, size - 1))
    return found


def _weights(labels: np.ndarray, anomalies: _Segments, width: int) -> np.ndarray:
    """Return how much each step counts as anomalous, (T,)."""
    weights = labels.astype(np.float64)
    for first, last in anomalies:
        after = np.arange(last + 1, min(last + width // 2 + 1, len(labels)))
        before = np.arange(max(first - width // 2, 0), first)
        weights[after] += np.sqrt(1 - (after - last) / max(width, 1))
        weights[before] += np.sqrt(1 - (first - before) / max(width, 1))
    return np.minimum(weights, 1.0)


def _existence(scores: np.ndarray, segments: _Segments, thresholds: np.ndarray) -> np.ndarray:
    """Return the share of the segments in which a step is flagged, by threshold."""
    highest = np.array([scores[first : last + 1].max() for first, last in segments])
    return np.asarray((highest[:, None] >= thresholds).mean(axis=0))
