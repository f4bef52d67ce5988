"""A Gaussian head with one variance per column."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from anomaly_vae.arrays import LOG_2PI, FloatArray
from anomaly_vae.columns.heads.base import LogNumber, NumberHead, PositiveNumber

__all__ = ["GaussianHead", "GaussianLikelihood"]


class GaussianHead(NumberHead, tag="gaussian"):
    """N(loc(z), exp(log_var)), model units.

    Attributes:
        variance: "learned" by training, or "fixed" at the variance of the column itself.
        log_var: Logarithm of the variance.
        step: Distance of neighbouring grid points, data units; None without a grid. On a grid, the probability of a
            point is step times the density, and the standard deviation is at least half a step. Then the
            probabilities of all points add up to 1 within 1.5 % for every loc (Poisson summation formula).
    """

    variance: Literal["learned", "fixed"]
    log_var: LogNumber
    step: PositiveNumber | None = None

    @classmethod
    def likelihood(cls, heads: Sequence[GaussianHead]) -> GaussianLikelihood:
        """See :class:`~.base.HeadRecord`."""
        return GaussianLikelihood([head.log_var for head in heads])

    @property
    def grid_step(self) -> float | None:
        """See :class:`~.base.HeadRecord`."""
        return self.step

    @property
    def learned_std(self) -> float | None:
        """See :class:`~.base.HeadRecord`."""
        return math.exp(0.5 * self.log_var) if self.variance == "learned" else None

    @property
    def summary(self) -> str:
        """See :class:`~.base.HeadRecord`."""
        return f"gaussian {math.exp(0.5 * self.log_var):.3g}"


class GaussianLikelihood:
    """N(loc_d, exp(log_var_d))."""

    def __init__(self, log_var: Sequence[float]) -> None:
        """Take the log-variances in model units, one per column."""
        self._log_var = np.asarray(log_var, dtype=np.float64)
        self._precision = np.exp(-self._log_var)
        self._constants = LOG_2PI + self._log_var

    def log_prob(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`~.base.Likelihood`."""
        squares = x - params
        squares *= squares
        squares *= self._precision * mask
        constant = (self._constants * mask).sum(axis=-1)
        return np.asarray(-0.5 * (constant + squares.sum(axis=-1)))

    def slope(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`~.base.Likelihood`."""
        return (x - params) * (self._precision * mask)

    def information(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:  # noqa: ARG002 (the same for every x)
        """See :class:`~.base.Likelihood`."""
        values = self._precision * mask
        return np.broadcast_to(values, np.broadcast_shapes(values.shape, params.shape))

    def center(self, params: FloatArray) -> FloatArray:
        """See :class:`~.base.Likelihood`."""
        return params

    def draw(self, params: FloatArray, rng: np.random.Generator) -> FloatArray:
        """See :class:`~.base.Likelihood`."""
        return np.asarray(params + np.exp(0.5 * self._log_var) * rng.standard_normal(params.shape))
