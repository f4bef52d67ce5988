"""A Student's t head: the cost of a far value grows with its logarithm, not with its square."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from msgspec import Meta

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.heads.base import LogNumber, NumberHead, PositiveNumber
from anomaly_vae.columns.special import log_gamma

__all__ = ["StudentTHead", "StudentTLikelihood"]


class StudentTHead(NumberHead, tag="student_t"):
    """Student's t around loc(z), model units.

    Attributes:
        log_scale: Logarithm of the scale.
        freedom: Degrees of freedom.
        step: As for :class:`~.gaussian.GaussianHead`.
    """

    log_scale: LogNumber
    freedom: Annotated[float, Meta(gt=1.0, le=1e3)]
    step: PositiveNumber | None = None

    @classmethod
    def likelihood(cls, heads: Sequence[StudentTHead]) -> StudentTLikelihood:
        """See :class:`~.base.HeadRecord`."""
        return StudentTLikelihood([head.log_scale for head in heads], [head.freedom for head in heads])

    @property
    def grid_step(self) -> float | None:
        """See :class:`~.base.HeadRecord`."""
        return self.step

    @property
    def learned_std(self) -> float | None:
        """The scale, a little less than the standard deviation."""
        return math.exp(self.log_scale)

    @property
    def summary(self) -> str:
        """See :class:`~.base.HeadRecord`."""
        return f"student_t {math.exp(self.log_scale):.3g}, df {self.freedom:.3g}"


class StudentTLikelihood:
    """Student's t around loc_d."""

    def __init__(self, log_scale: Sequence[float], freedom: Sequence[float]) -> None:
        """Take the log-scales in model units and the degrees of freedom, one per column."""
        self._scale, nu = np.exp(np.asarray(log_scale, dtype=np.float64)), np.asarray(freedom, dtype=np.float64)
        self._nu, self._spread = nu, nu * self._scale**2
        gamma = log_gamma(0.5 * (nu + 1.0)) - log_gamma(0.5 * nu)
        self.constants = gamma - 0.5 * (np.log(nu) + math.log(math.pi)) - np.log(self._scale)

    def log_prob(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`~.base.Likelihood`."""
        terms = self.constants - 0.5 * (self._nu + 1.0) * np.log1p(np.square(x - params) / self._spread)
        return np.asarray((terms * mask).sum(axis=-1))

    def slope(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`~.base.Likelihood`."""
        residual = x - params
        return np.asarray((self._nu + 1.0) * residual / (self._spread + np.square(residual)) * mask)

    def information(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`~.base.Likelihood`."""
        return np.asarray((self._nu + 1.0) / (self._spread + np.square(x - params)) * mask)

    def center(self, params: FloatArray) -> FloatArray:
        """See :class:`~.base.Likelihood`."""
        return params

    def draw(self, params: FloatArray, rng: np.random.Generator) -> FloatArray:
        """See :class:`~.base.Likelihood`."""
        return np.asarray(params + self._scale * rng.standard_t(self._nu, params.shape))
