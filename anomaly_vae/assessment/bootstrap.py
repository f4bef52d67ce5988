"""Stratified bootstrap: how much figures of detection would vary with other rows of the same kind."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.assessment.ranking import LevelCounts
from anomaly_vae.record import Record

__all__ = ["Estimate", "bootstrap", "estimates"]

# Resamples between two reports of progress. Chosen, not measured.
_REPORT_EVERY = 50


class Estimate(Record):
    """A figure with its interval.

    Attributes:
        value: The figure of these rows.
        low, high: The interval.
    """

    value: float
    low: float
    high: float


def bootstrap(
    counts: LevelCounts,
    figures: Callable[[LevelCounts], FloatArray],
    resamples: int,
    seed: int,
    on_resamples: Callable[[int], None] | None = None,
) -> FloatArray:
    """Return figures of resampled rows, shape (resamples, F); the same seed gives the same numbers.

    Normal rows and anomalies are drawn apart, with replacement, as many as there are: a row counts by its level, so no
    row is sorted again.

    Args:
        counts: Rows by level; at least one normal row and one anomaly.
        figures: Returns F figures of rows by level.
        resamples: How often rows are drawn.
        seed: Of the draws.
        on_resamples: Called with the number of resamples just done.

    References:
        An Introduction to the Bootstrap (Efron & Tibshirani, 1993), chapter 13: percentile intervals.
    """
    rng, size = np.random.default_rng(seed), len(counts.normal)
    rows = [np.repeat(np.arange(size), count) for count in counts]
    found = []
    for i in range(resamples):
        drawn = (np.bincount(of[_draw(rng, len(of))], minlength=size) for of in rows)
        found.append(figures(LevelCounts(*drawn)))
        if on_resamples and ((i + 1) % _REPORT_EVERY == 0 or i + 1 == resamples):
            on_resamples((i % _REPORT_EVERY) + 1)
    return np.array(found)


def _draw(rng: np.random.Generator, size: int) -> NDArray[np.uint32]:
    return rng.integers(0, size, size, dtype=np.uint32)


def estimates(values: FloatArray, resampled: FloatArray, confidence: float) -> list[Estimate]:
    """Return figures (F,) with their percentile intervals from resamples (resamples, F)."""
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(resampled, [tail, 1.0 - tail], axis=0)
    return [
        Estimate(value=float(value), low=float(least), high=float(most))
        for value, least, most in zip(values, low, high, strict=True)
    ]
