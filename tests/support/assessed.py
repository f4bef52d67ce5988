"""Scores that were made up, for the tests of assessments."""

from __future__ import annotations

import numpy as np

from anomaly_vae.assessment.promise import Promise
from anomaly_vae.assessment.ranking import Judged
from anomaly_vae.columns.shapes import ImageShape
from anomaly_vae.explained import Why
from anomaly_vae.images.base import BadImage, ImageSource, Numbers
from anomaly_vae.scores import Scores


def scores_of(p_value, score, is_anomaly=(), std_error=None, reliable=None):
    """Scores with these values; the flags are by default those of a rate of 0.05."""
    n = len(score)
    p_value = None if p_value is None else np.array(p_value, dtype=float)
    if is_anomaly is not None:
        is_anomaly = np.array(is_anomaly, dtype=bool) if len(is_anomaly) else p_value <= 0.05
    return Scores(
        log_px=np.array(score, dtype=float),
        score=np.array(score, dtype=float),
        elbo=np.zeros(n),
        std_error=np.zeros(n) if std_error is None else np.array(std_error, dtype=float),
        ess_ratio=np.ones(n),
        pareto_k=np.zeros(n),
        reliable=np.ones(n, dtype=bool) if reliable is None else np.array(reliable),
        p_value=p_value,
        is_anomaly=is_anomaly,
        num_samples=np.full(n, 64),
        reason=[None] * n,
    )


def judged_of(p_value, *, score=None, lowest=None, **more):
    """Judged rows with these p-values; by default scores in the same order, and a threshold at 0."""
    score = np.log(p_value) - np.log(0.05) if score is None else score
    lowest = np.zeros(len(p_value), dtype=bool) if lowest is None else np.array(lowest)
    return Judged(scores_of(p_value, score, **more), lowest, (0.0, None))


def why(column, excess, value=1.0, **more):
    """A column that is to blame for a row; 2 to 4 was expected."""
    return Why(column=column, value=value, nats=9.0, std_error=0.1, excess=excess, low=2.0, high=4.0, **more)


def promise_for(target=0.05, n=99, confidence=None, effective=None):
    """A promise from n calibration rows."""
    effective = np.floor(target * (n + 1) + 1e-9) / (n + 1) if effective is None else effective
    return Promise(target_fpr=target, effective_fpr=float(effective), confidence=confidence, calibration_rows=n)


def conformal(rng, size, n=99):
    """P-values of rows that are like n calibration rows."""
    calibration = np.sort(rng.normal(size=n))
    return (1.0 + np.searchsorted(calibration, rng.normal(size=size), side="right")) / (n + 1.0)


class PlainImages(ImageSource):
    """Images of 2 x 2 pixels with the value of their number; some cannot be read."""

    def __init__(self, count, bad=()):
        super().__init__()
        self.where, self.shape, self.names, self._bad = "photos", ImageShape(height=2, width=2), Numbers(count), bad

    def _read_all(self):
        yield from self._read_some(range(len(self)))

    def _read_some(self, numbers):
        for number in numbers:
            is_bad = number in self._bad
            yield BadImage("is empty") if is_bad else np.full((2, 2, 1), number % 256, np.uint8)
