"""A von Mises head for cyclic columns, such as times of day."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
from msgspec import Meta

from anomaly_vae.arrays import LOG_2PI, FloatArray
from anomaly_vae.columns.bessel import log_i0, ratio_and_bend
from anomaly_vae.columns.heads.base import HeadRecord, PositiveNumber
from anomaly_vae.columns.transforms import Transform

__all__ = ["PARAM_LIMIT", "VonMisesHead", "VonMisesLikelihood"]

# The decoder's output is clipped to +-1e6: its square is finite in float32. The concentration is at its limit long
# before. Chosen, not measured.
PARAM_LIMIT = 1e6


class VonMisesHead(HeadRecord, tag="von_mises"):
    r"""The von Mises distribution of the angle :math:`\theta = 2 \pi x / \mathrm{period}`.

    .. math:: \log p(\theta) = A \cos\theta + B \sin\theta - \log 2 \pi I_0(\kappa), \quad \kappa = \sqrt{A^2 + B^2}

    The decoder gives (a, b). They are shrunk, so that :math:`\kappa` stays below the limit k:

    .. math:: (A, B) = s\,(a, b), \quad s = (1 + (a^2 + b^2) / k^2)^{-1/2}

    The features of the column are :math:`\cos\theta` and :math:`\sin\theta`.

    Attributes:
        period: Values with the same remainder are the same, data units.
        limit: k, the largest concentration. For large concentrations the standard deviation is
            :math:`1 / \sqrt\kappa` radians.
        step: Distance of neighbouring grid points, data units; None without a grid. The period is a whole number of
            steps. On a grid, the probability of a point is step times the density, and 1 / sqrt(limit) is at least
            half a step: with 4 points or more, the probabilities of all points add up to 1 within 2.5 %.
    """

    selectable: ClassVar[bool] = False  # the kind of the column chooses it

    period: PositiveNumber
    limit: Annotated[float, Meta(gt=0.0, le=1e4)]
    step: PositiveNumber | None = None

    @classmethod
    def likelihood(cls, heads: Sequence[VonMisesHead]) -> VonMisesLikelihood:
        """See :class:`~.base.HeadRecord`."""
        return VonMisesLikelihood([head.limit for head in heads])

    @property
    def cycle(self) -> float | None:
        """See :class:`~.base.HeadRecord`."""
        return self.period

    @property
    def grid_step(self) -> float | None:
        """See :class:`~.base.HeadRecord`."""
        return self.step

    @property
    def summary(self) -> str:
        """The head in a few words, for `anomaly-vae inspect`."""
        return f"von_mises, period {self.period:.6g}"

    def log_jacobian(self, transform: Transform | None) -> float:  # noqa: ARG002 (it has none)
        """See :class:`~.base.HeadRecord`: from radians to data units, or to the points of the grid."""
        return LOG_2PI - math.log(self.period) + (0.0 if self.step is None else math.log(self.step))

    def unit_log_density(self, transform: Transform | None) -> float | None:
        """Return log p in data units under the uniform distribution, which knows nothing about the column, nats."""
        return self.log_jacobian(transform) - LOG_2PI


class _Terms(NamedTuple):
    """What the density and its derivatives have in common, (..., 2, G) or (..., 1, G).

    Attributes:
        given: (a, b) / k.
        shrink: s.
        natural: (A, B).
        square: A^2 + B^2.
    """

    given: FloatArray
    shrink: FloatArray
    natural: FloatArray
    square: FloatArray


class VonMisesLikelihood:
    """Von Mises distributions; features and parameters are two per column: cosine and sine, a and b."""

    def __init__(self, limits: Sequence[float]) -> None:
        """Take the largest concentrations, one per column."""
        self._limits = np.asarray(limits, dtype=np.float64)

    def log_prob(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`~.base.Likelihood`."""
        terms = self._terms(params)
        chosen = (x * _joined(terms.natural) * mask).sum(axis=-1)
        return np.asarray(chosen - ((LOG_2PI + log_i0(terms.square)[..., 0, :]) * mask[..., ::2]).sum(axis=-1))

    def slope(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`~.base.Likelihood`; with the residual e, it is s e - s^3 given (given e)."""
        terms = self._terms(params)
        given, shrink = terms.given, terms.shrink
        residual = _pairs(x) - ratio_and_bend(terms.square)[0] * terms.natural
        along = (given * residual).sum(axis=-2, keepdims=True)
        return _joined(shrink * residual - shrink**3 * given * along) * mask

    def information(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:  # noqa: ARG002 (the same for every x)
        r"""Return the diagonal of the Fisher information, see :class:`~.base.Likelihood`.

        In (A, B) it is the covariance of cosine and sine, :math:`R + B (A, B)(A, B)^\top` with R and B of
        :mod:`anomaly_vae.columns.bessel`; the derivative of (A, B) by (a, b) leads to (a, b).
        """
        terms = self._terms(params)
        ratio, bend = ratio_and_bend(terms.square)
        s2, g2, k2 = np.square(terms.shrink), np.square(terms.given), np.square(self._limits)
        across = ratio * s2 * (1.0 - s2 * (1.0 + s2) * g2)
        return _joined(np.maximum(across + bend * k2 * s2**4 * g2, 0.0)) * mask

    def center(self, params: FloatArray) -> FloatArray:
        """Return the mean directions in radians, between 0 and 2 pi."""
        natural = self._terms(params).natural
        return np.mod(np.arctan2(natural[..., 1, :], natural[..., 0, :]), 2.0 * math.pi)

    def draw(self, params: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Draw angles in radians, between 0 and 2 pi."""
        terms = self._terms(params)
        mean = np.arctan2(terms.natural[..., 1, :], terms.natural[..., 0, :])
        return np.mod(rng.vonmises(mean, np.sqrt(terms.square[..., 0, :])), 2.0 * math.pi)

    def _terms(self, params: FloatArray) -> _Terms:
        given = _pairs(np.clip(params, -PARAM_LIMIT, PARAM_LIMIT)) / self._limits
        norm = np.square(given).sum(axis=-2, keepdims=True)
        shrink = 1.0 / np.sqrt(1.0 + norm)
        natural = self._limits * shrink * given
        return _Terms(given, shrink, natural, np.square(natural).sum(axis=-2, keepdims=True))


def _pairs(values: FloatArray) -> FloatArray:
    """Return (..., 2 G) as (..., 2, G): cosines or a, then sines or b."""
    return np.stack([values[..., ::2], values[..., 1::2]], axis=-2)


def _joined(pairs: FloatArray) -> FloatArray:
    """Undo :func:`_pairs`."""
    return np.swapaxes(pairs, -1, -2).reshape(*pairs.shape[:-2], -1)
