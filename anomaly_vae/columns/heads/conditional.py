"""A Gaussian head whose variance depends on z."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from anomaly_vae.arrays import LOG_2PI, FloatArray
from anomaly_vae.columns.heads.base import RAW_LIMIT, NumberHead, PositiveNumber

__all__ = ["ConditionalHead", "ConditionalLikelihood"]


class ConditionalHead(NumberHead, tag="conditional"):
    """N(loc(z), floor^2 + exp(raw(z))), model units.

    Attributes:
        floor: Smallest standard deviation.
        step: As for :class:`~.gaussian.GaussianHead`.
    """

    params_per_feature: ClassVar[int] = 2
    selectable: ClassVar[bool] = False  # the option decoder_variance chooses it

    floor: PositiveNumber
    step: PositiveNumber | None = None

    @classmethod
    def likelihood(cls, heads: Sequence[ConditionalHead]) -> ConditionalLikelihood:
        """See :class:`~.base.HeadRecord`."""
        return ConditionalLikelihood([head.floor for head in heads])

    @property
    def grid_step(self) -> float | None:
        """See :class:`~.base.HeadRecord`."""
        return self.step


class ConditionalLikelihood:
    """N(loc_d, floor_d^2 + exp(raw_d)); the parameters are loc of all columns, then raw of all columns."""

    def __init__(self, floors: Sequence[float]) -> None:
        """Take the smallest standard deviations in model units, one per column."""
        self._least_variance = np.square(np.asarray(floors, dtype=np.float64))

    def log_prob(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`~.base.Likelihood`."""
        loc, variance, _ = self._split(params)
        terms = LOG_2PI + np.log(variance) + np.square(x - loc) / variance
        return np.asarray(-0.5 * (terms * mask).sum(axis=-1))

    def slope(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`~.base.Likelihood`."""
        loc, variance, share = self._split(params)
        residual = x - loc
        by_loc, by_raw = residual / variance, 0.5 * (np.square(residual) / variance - 1.0) * share
        return np.concatenate([by_loc * mask, by_raw * mask], axis=-1)

    def information(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:  # noqa: ARG002 (the same for every x)
        """See :class:`~.base.Likelihood`."""
        _, variance, share = self._split(params)
        return np.concatenate([mask / variance, 0.5 * np.square(share) * mask], axis=-1)

    def center(self, params: FloatArray) -> FloatArray:
        """See :class:`~.base.Likelihood`."""
        return self._split(params)[0]

    def draw(self, params: FloatArray, rng: np.random.Generator) -> FloatArray:
        """See :class:`~.base.Likelihood`."""
        loc, variance, _ = self._split(params)
        return np.asarray(loc + np.sqrt(variance) * rng.standard_normal(loc.shape))

    def _split(self, params: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return loc, the variance, and exp(raw) / variance."""
        loc, raw = np.split(params, 2, axis=-1)
        free = np.exp(np.clip(raw, -RAW_LIMIT, RAW_LIMIT))
        variance = self._least_variance + free
        return loc, variance, free / variance
