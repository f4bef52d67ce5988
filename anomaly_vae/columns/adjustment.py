r"""Scores of rows with missing cells, comparable with those of complete rows: pure functions.

log p(x_observed) is exact, but it is a sum over fewer cells, so one threshold does not fit rows with different numbers
of missing cells. The score corrects for that in two steps:

.. math:: \mathrm{score}(x) = T_m \Bigl( \log p(x_{obs}) + \sum_{d\ \mathrm{missing}} b_d \Bigr)

First, b_d stands in for each missing cell: log p in data units of a density of 1 in standardised units, of the uniform
density for angles, or the mean log-probability for text and counts. Second, T_m maps the result, quantile by quantile,
to the scale of complete rows. T_m is increasing and piecewise linear. It is fitted to calibration rows: it maps their
scores with m cells removed to their scores without. The score of a complete row is log p(x) itself.

Measured on 16 tables with a fifth of the cells removed: the mean area under the ROC curve fell by 0.009. It fell by
0.04 with log p(x_obs) alone, and by 0.03 with b_d fitted by least squares.

References:
    Conformal Prediction with Missing Values (Zaffran et al., 2023): masked calibration rows make thresholds valid
"""

from __future__ import annotations

import itertools
from functools import cached_property
from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.record import Record

__all__ = ["Adjustment", "Level", "quantile_map"]

# Knots of a map: one at each of the 64 lowest scores, where thresholds lie, and 64 spread over all scores.
# Chosen, not measured: more knots follow the quantiles more closely and make manifest.json longer.
_LOWEST_KNOTS, _OTHER_KNOTS = 64, 64


class Level(Record):
    """The map T_m.

    Attributes:
        missing: m, number of missing cells of modelled columns.
        masked: Increasing knots before the map, nats.
        whole: Increasing knots after the map, nats.
    """

    missing: Annotated[int, Meta(ge=1)]
    masked: tuple[float, ...]
    whole: tuple[float, ...]


class Adjustment(Record, dict=True):
    """The adjustment of scores of rows with missing cells.

    Attributes:
        parts: b_d for each modelled column, nats in data units.
        levels: Maps T_m for a few numbers m of missing cells, increasing; a row uses the one with the nearest m.
    """

    parts: tuple[float, ...]
    levels: tuple[Level, ...] = ()

    def fits(self, num_columns: int) -> bool:
        """Return whether the maps can be inverted and ``parts`` has one entry for each modelled column."""
        counts = [level.missing for level in self.levels]
        return (
            len(self.parts) == num_columns
            and counts == sorted(set(counts))
            and all(
                len(level.masked) == len(level.whole) > 0
                and all(a < b for knots in (level.masked, level.whole) for a, b in itertools.pairwise(knots))
                for level in self.levels
            )
        )

    def forward(self, log_px: FloatArray, missing: NDArray[np.bool_]) -> FloatArray:
        """Return scores (N,) in nats.

        Args:
            log_px: log p(x_observed) in nats, data units, shape (N,).
            missing: Which cells of modelled columns are missing, shape (N, M).
        """
        score = log_px.copy()
        for i in np.flatnonzero(missing.any(axis=1)):
            score[i] += np.where(missing[i], self._parts, 0.0).sum()
            level = self._level(int(missing[i].sum()))
            if level is not None:
                score[i] = _interpolate(float(score[i]), level.masked, level.whole)
        return score

    def backward(self, score: float, missing: NDArray[np.bool_]) -> FloatArray:
        """Return the log p(x_observed) at which rows with these cells missing (N, M) have this score, shape (N,).

        It inverts :meth:`forward` up to rounding.
        """
        log_px = np.full(len(missing), score)
        for i in np.flatnonzero(missing.any(axis=1)):
            level = self._level(int(missing[i].sum()))
            if level is not None:
                log_px[i] = _interpolate(score, level.whole, level.masked)
            log_px[i] -= np.where(missing[i], self._parts, 0.0).sum()
        return log_px

    @cached_property
    def _parts(self) -> FloatArray:
        return np.array(self.parts)

    def _level(self, count: int) -> Level | None:
        return min(self.levels, key=lambda level: abs(level.missing - count), default=None)


def quantile_map(masked: FloatArray, whole: FloatArray, missing: int) -> Level:
    """Return the map from the quantiles of ``masked`` to those of ``whole``.

    Args:
        masked: Scores of rows with cells removed, nats, shape (n,).
        whole: Scores of the same rows without cells removed, nats, shape (n,).
        missing: Number of cells that were removed.
    """
    masked, whole = np.sort(masked), np.sort(whole)
    n = len(masked)
    chosen = np.unique(np.concatenate([np.arange(min(n, _LOWEST_KNOTS)), np.linspace(0, n - 1, _OTHER_KNOTS)]))
    chosen = chosen.round().astype(int)
    knots: list[tuple[float, float]] = []
    for a, b in zip(masked[chosen].tolist(), whole[chosen].tolist(), strict=True):
        if not knots or (a > knots[-1][0] and b > knots[-1][1]):
            knots.append((a, b))
    before, after = zip(*knots, strict=True)
    return Level(missing=missing, masked=before, whole=after)


def _interpolate(value: float, knots: tuple[float, ...], values: tuple[float, ...]) -> float:
    """Interpolate linearly; beyond the first and the last knot the slope is 1."""
    if value <= knots[0]:
        return value - knots[0] + values[0]
    if value >= knots[-1]:
        return value - knots[-1] + values[-1]
    return float(np.interp(value, knots, values))
