"""Curves of detection, thinned for a chart: the ROC curve, and precision by recall."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.assessment.ranking import LevelCounts
from anomaly_vae.record import Record

__all__ = ["MOST_POINTS", "Curve", "precision_recall_curve", "roc_curve"]

# Points of a curve: more than a chart can show. Chosen, not measured.
MOST_POINTS = 200


class Curve(Record):
    """A curve by its points, in the order of x.

    Attributes:
        x, y: Coordinates, at most 200 of each.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]


def roc_curve(counts: LevelCounts) -> Curve:
    """Return recall (y) by false-positive rate (x), from (0, 0) to (1, 1); at least one row of each class."""
    x = np.concatenate([[0.0], np.cumsum(counts.normal) / counts.normal.sum()])
    y = np.concatenate([[0.0], np.cumsum(counts.anomalous) / counts.anomalous.sum()])
    kept = _thinned(x, y)
    return _curve(x[kept], y[kept])


def precision_recall_curve(counts: LevelCounts) -> Curve:
    """Return precision (y) by recall (x), at each level where a further anomaly is found; at least one anomaly."""
    found, flagged = np.cumsum(counts.anomalous), np.cumsum(counts.anomalous + counts.normal)
    steps = np.flatnonzero(counts.anomalous)
    x, y = found[steps] / found[-1], found[steps] / flagged[steps]
    kept = _thinned(x, y)
    return _curve(x[kept], y[kept])


def _thinned(x: FloatArray, y: FloatArray) -> NDArray[np.intp]:
    """Return which points to keep: the first, the last, and others about evenly along the curve."""
    if len(x) <= MOST_POINTS:
        return np.arange(len(x))
    way = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    places = np.searchsorted(way, np.linspace(0.0, way[-1], MOST_POINTS))
    places[0], places[-1] = 0, len(x) - 1
    return np.unique(places)


def _curve(x: FloatArray, y: FloatArray) -> Curve:
    return Curve(x=tuple(x.tolist()), y=tuple(y.tolist()))
