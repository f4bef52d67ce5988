"""A logistic head for values on a grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.heads.base import LogNumber, NumberHead, PositiveNumber
from anomaly_vae.columns.special import sigmoid, softplus
from anomaly_vae.columns.transforms import Transform

__all__ = ["LogisticHead", "LogisticLikelihood"]

# Within 0.001 scales of the middle, slope / residual is taken at 0.001 scales: at 0 it is 0 / 0, and the slope is
# linear there to a relative error of about 1e-7. Chosen, not measured.
_NEAR = 1e-3


class LogisticHead(NumberHead, tag="logistic"):
    r"""The probability of the grid cell around x under a logistic distribution around loc(z).

    .. math:: P(x) = \sigma((x + h/2 - \mu) / s) - \sigma((x - h/2 - \mu) / s)

    Attributes:
        log_scale: log s, model units.
        step: h, data units.
        cell: h, model units.

    References:
        PixelCNN++ (Salimans et al., 2017), https://arxiv.org/abs/1701.05517
    """

    needs_grid: ClassVar[bool] = True

    log_scale: LogNumber
    step: PositiveNumber
    cell: PositiveNumber

    @classmethod
    def likelihood(cls, heads: Sequence[LogisticHead]) -> LogisticLikelihood:
        """See :class:`~.base.HeadRecord`."""
        return LogisticLikelihood([head.log_scale for head in heads], [head.cell for head in heads])

    @property
    def grid_step(self) -> float | None:
        """See :class:`~.base.HeadRecord`."""
        return self.step

    @property
    def summary(self) -> str:
        """See :class:`~.base.HeadRecord`."""
        return f"logistic {math.exp(self.log_scale):.3g}"

    def log_jacobian(self, transform: Transform | None) -> float:  # noqa: ARG002 (a probability has no units)
        """See :class:`~.base.HeadRecord`."""
        return 0.0

    def unit_log_density(self, transform: Transform | None) -> float | None:  # noqa: ARG002 (the cell has it)
        """See :class:`~.base.HeadRecord`."""
        return math.log(self.cell)


class LogisticLikelihood:
    r"""The probability of the cell around x under a logistic distribution around loc_d.

    With a and b the ends of the cell, :math:`\sigma(b) - \sigma(a) = \sigma(b) \sigma(-a) (1 - e^{a - b})`. The
    logarithm of this product is finite for every finite x.
    """

    def __init__(self, log_scale: Sequence[float], cells: Sequence[float]) -> None:
        """Take the log-scales and the widths of the cells, model units, one per column."""
        self._scale, cell = np.exp(np.asarray(log_scale, dtype=np.float64)), np.asarray(cells, dtype=np.float64)
        self._half = 0.5 * cell / self._scale
        self.constants = np.log(-np.expm1(-cell / self._scale))

    def log_prob(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`~.base.Likelihood`."""
        middle = (x - params) / self._scale
        terms = self.constants - softplus(-middle - self._half) - softplus(middle - self._half)
        return np.asarray((terms * mask).sum(axis=-1))

    def slope(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`~.base.Likelihood`."""
        middle = (x - params) / self._scale
        return (sigmoid(middle - self._half) - sigmoid(-middle - self._half)) / self._scale * mask

    def information(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`~.base.Likelihood`."""
        middle = np.abs(x - params) / self._scale
        near = np.maximum(middle, _NEAR)
        slope = sigmoid(near - self._half) - sigmoid(-near - self._half)
        return np.asarray(slope / (near * self._scale**2) * mask)

    def center(self, params: FloatArray) -> FloatArray:
        """See :class:`~.base.Likelihood`."""
        return params

    def draw(self, params: FloatArray, rng: np.random.Generator) -> FloatArray:
        """See :class:`~.base.Likelihood`."""
        return np.asarray(params + self._scale * rng.logistic(size=params.shape))
