"""A head for the pixels of images: a mixture of two logistic distributions in cells, whose scales depend on z."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.heads.base import NumberHead, PositiveNumber
from anomaly_vae.columns.special import sigmoid, softplus
from anomaly_vae.columns.transforms import Transform

__all__ = ["MOST_LOG_SCALE", "MOST_WEIGHT_LOGIT", "PixelHead", "PixelLikelihood", "half_cell", "least_scale"]

# The raw log-scale is clipped here: a scale of 2 is the whole range of the values, which is -1 to 1.
MOST_LOG_SCALE = math.log(2.0)

# The logit of the first component's weight is clipped to +-10: weights are at least 4.5e-5. Chosen, not measured: the
# graph multiplies the probabilities of two cells before it takes their logarithm, and float32 must hold the product.
MOST_WEIGHT_LOGIT = 10.0

# The least scale in cells. Measured on MNIST, with this head: 1.49 bits per dimension.
_LEAST_CELLS = 0.25

# Where |p| is smaller, tanh(p / 2) / (2 p) is its limit. Chosen, not measured: the error is 1e-9.
_NEAR = 1e-4


class PixelHead(NumberHead, tag="pixel"):
    r"""The probability of the cell around x under two logistic distributions; the outer cells have the whole tails.

    .. math:: P(x) = \sum_k w_k \left( \sigma((x + h - \mu_k) / s_k) - \sigma((x - h - \mu_k) / s_k) \right)

    The upper end of the highest cell is infinite, and so is the lower end of the lowest one: the probabilities of all
    levels add up to 1. Values outside the range count as the nearest level. In model units, the levels go from -1 to 1
    and h is half their distance. The decoder gives :math:`\mu_1, \mu_2, \log(s_1 - s_0), \log(s_2 - s_0)` and the logit
    of :math:`w_1`, with the least scale :math:`s_0`.

    Attributes:
        low: The lowest level, data units.
        step: Distance of neighbouring levels, data units.
        levels: Number of levels.

    References:
        PixelCNN++ (Salimans et al., 2017), https://arxiv.org/abs/1701.05517
    """

    params_per_feature: ClassVar[int] = 5
    needs_grid: ClassVar[bool] = True

    low: float
    step: PositiveNumber
    levels: Annotated[int, Meta(ge=2, le=2**16)]

    @classmethod
    def likelihood(cls, heads: Sequence[PixelHead]) -> PixelLikelihood:
        """See :class:`~.base.HeadRecord`."""
        return PixelLikelihood([head.levels for head in heads])

    @property
    def grid_step(self) -> float | None:
        """See :class:`~.base.HeadRecord`."""
        return self.step

    def log_jacobian(self, transform: Transform | None) -> float:  # noqa: ARG002 (a probability has no units)
        """See :class:`~.base.HeadRecord`."""
        return 0.0

    def unit_log_density(self, transform: Transform | None) -> float | None:  # noqa: ARG002 (the levels have it)
        """See :class:`~.base.HeadRecord`."""
        return math.log(2.0 * half_cell(self.levels))


def half_cell(levels: int) -> float:
    """Return h, half the distance of neighbouring levels, model units."""
    return 1.0 / (levels - 1)


def least_scale(levels: int) -> float:
    """Return the least scale, model units."""
    return _LEAST_CELLS * 2.0 * half_cell(levels)


class _Terms(NamedTuple):
    """What the density and its derivatives have in common; (..., 2, G) has both components.

    Attributes:
        upper, lower: Distances of the cell's ends from the location, in scales; finite, (..., 2, G).
        is_high, is_low: Whether the upper end is infinite, and the lower one, (..., 1, G).
        scale: (..., 2, G).
        share: Derivative of log(scale) by the decoder's output, (..., 2, G).
        logit: Of the first weight, (..., 1, G).
    """

    upper: FloatArray
    lower: FloatArray
    is_high: NDArray[np.bool_]
    is_low: NDArray[np.bool_]
    scale: FloatArray
    share: FloatArray
    logit: FloatArray


class _Parts(NamedTuple):
    """Log-probabilities of the components and what their derivatives are made of, (..., 2, G).

    Attributes:
        log_prob: log P of each component.
        above, below: sigma at the upper and at the lower end.
        width: The width of the cell in scales.
        rest: exp(-width); 0 for the outer cells.
    """

    log_prob: FloatArray
    above: FloatArray
    below: FloatArray
    width: FloatArray
    rest: FloatArray


class PixelLikelihood:
    """Mixtures of two logistic distributions in cells.

    The parameters are the first locations of all columns, then the second ones; the raw log-scales in the same order;
    the logits of the first weights.
    """

    def __init__(self, levels: Sequence[int]) -> None:
        """Take the numbers of levels, one per column."""
        self._half = np.array([half_cell(each) for each in levels])
        self._least = np.array([least_scale(each) for each in levels])

    def log_prob(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`~.base.Likelihood`."""
        terms = self._terms(x, params)
        log_probs = self._parts(terms).log_prob + _log_weights(terms.logit)
        return np.asarray((np.logaddexp(log_probs[..., 0, :], log_probs[..., 1, :]) * mask).sum(axis=-1))

    def slope(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`~.base.Likelihood`."""
        terms = self._terms(x, params)
        parts = self._parts(terms)
        chosen = self._responsibilities(terms, parts)
        by_loc = (parts.above + parts.below - 1.0) / terms.scale
        by_scale = (
            parts.width * parts.rest / (1.0 - parts.rest)
            + terms.upper * (1.0 - parts.above)
            - terms.lower * parts.below
        )
        free = np.abs(terms.logit) < MOST_WEIGHT_LOGIT
        by_logit = (chosen[..., :1, :] - sigmoid(terms.logit)) * free
        return _joined(chosen * by_loc, -chosen * terms.share * by_scale, by_logit, mask)

    def information(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """Return the curvature for each component, times its responsibility; see :class:`~.base.Likelihood`.

        For the locations it is that of the quadratic bounds of both logarithms of sigmoids (Jaakkola & Jordan, 2000),
        for the scales minus the second derivative by 1 / scale, and for the weight minus the second derivative of
        log p(x|z) where it is positive.
        """
        terms = self._terms(x, params)
        parts = self._parts(terms)
        chosen = self._responsibilities(terms, parts)
        of_loc = (_bound(terms.upper) * ~terms.is_high + _bound(terms.lower) * ~terms.is_low) / np.square(terms.scale)
        of_scale = (
            np.square(parts.width / (1.0 - parts.rest)) * parts.rest
            + np.square(terms.upper) * parts.above * (1.0 - parts.above)
            + np.square(terms.lower) * parts.below * (1.0 - parts.below)
        )
        weight, first = sigmoid(terms.logit), chosen[..., :1, :]
        of_logit = np.maximum(weight * (1.0 - weight) - first * (1.0 - first), 0.0)
        of_logit = of_logit * (np.abs(terms.logit) < MOST_WEIGHT_LOGIT)
        return _joined(chosen * of_loc, chosen * np.square(terms.share) * of_scale, of_logit, mask)

    def center(self, params: FloatArray) -> FloatArray:
        """Return the mean, with the tails outside the range at its ends; see :class:`~.base.Likelihood`."""
        loc, _, scale, logit = self._split(params)
        means = scale * (softplus((loc + 1.0) / scale) - softplus((loc - 1.0) / scale)) - 1.0
        weight = sigmoid(logit[..., 0, :])
        return np.asarray(weight * means[..., 0, :] + (1.0 - weight) * means[..., 1, :])

    def draw(self, params: FloatArray, rng: np.random.Generator) -> FloatArray:
        """See :class:`~.base.Likelihood`."""
        locs, _, scale, logit = self._split(params)
        is_first = rng.random(logit[..., 0, :].shape) < sigmoid(logit[..., 0, :])
        loc, width = (np.where(is_first, each[..., 0, :], each[..., 1, :]) for each in (locs, scale))
        return np.clip(loc + width * rng.logistic(size=loc.shape), -1.0, 1.0)

    def _terms(self, x: FloatArray, params: FloatArray) -> _Terms:
        loc, share, scale, logit = self._split(params)
        value = np.clip(x, -1.0, 1.0)[..., None, :]
        residual = value - loc
        return _Terms(
            (residual + self._half) / scale,
            (residual - self._half) / scale,
            value > 1.0 - self._half,
            value < self._half - 1.0,
            scale,
            share,
            logit,
        )

    def _parts(self, terms: _Terms) -> _Parts:
        width = 2.0 * self._half / terms.scale
        rest = np.where(terms.is_high | terms.is_low, 0.0, np.exp(-width))
        log_prob = (
            np.log1p(-rest)
            - np.where(terms.is_high, 0.0, softplus(-terms.upper))
            - np.where(terms.is_low, 0.0, softplus(terms.lower))
        )
        above = np.where(terms.is_high, 1.0, sigmoid(terms.upper))
        return _Parts(log_prob, above, np.where(terms.is_low, 0.0, sigmoid(terms.lower)), width, rest)

    def _responsibilities(self, terms: _Terms, parts: _Parts) -> FloatArray:
        """Return the posterior probabilities of both components, (..., 2, G)."""
        log_odds = terms.logit + parts.log_prob[..., :1, :] - parts.log_prob[..., 1:, :]
        return np.concatenate([sigmoid(log_odds), sigmoid(-log_odds)], axis=-2)

    def _split(self, params: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Return locations, shares and scales, (..., 2, G), and the logit of the first weight, (..., 1, G)."""
        by_kind = params.reshape(*params.shape[:-1], 5, len(self._half))
        loc, raw, logit = by_kind[..., :2, :], by_kind[..., 2:4, :], by_kind[..., 4:, :]
        free = np.exp(np.minimum(raw, MOST_LOG_SCALE))
        scale = self._least + free
        share = np.where(raw < MOST_LOG_SCALE, free / scale, 0.0)
        return loc, share, scale, np.clip(logit, -MOST_WEIGHT_LOGIT, MOST_WEIGHT_LOGIT)


def _log_weights(logit: FloatArray) -> FloatArray:
    """Return the logarithms of both weights, (..., 1, G) -> (..., 2, G)."""
    return -np.concatenate([softplus(-logit), softplus(logit)], axis=-2)


def _bound(distance: FloatArray) -> FloatArray:
    """Return the curvature of the quadratic bound of softplus that touches it at a distance."""
    away = np.maximum(np.abs(distance), _NEAR)
    return np.asarray(np.tanh(0.5 * away) / (2.0 * away))


def _joined(of_loc: FloatArray, of_scale: FloatArray, of_logit: FloatArray, mask: FloatArray) -> FloatArray:
    """Return values for each parameter, (..., P), 0 where a cell is missing."""
    values = np.concatenate([of_loc, of_scale, of_logit], axis=-2) * mask[..., None, :]
    return np.asarray(values.reshape(*values.shape[:-2], -1))
