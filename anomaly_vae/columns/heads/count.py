"""A negative binomial head for whole numbers from 0."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.heads.base import LOGIT_LIMIT, HeadRecord, LogNumber, PositiveNumber
from anomaly_vae.columns.special import log_gamma, sigmoid, softplus

__all__ = ["CountHead", "CountLikelihood"]

# The largest rate that is drawn from: numpy's Poisson sampler refuses rates above about 9e18.
_LARGEST_RATE = 1e15


class CountHead(HeadRecord, tag="count"):
    r"""Negative binomial with mean r exp(u(z)) and variance mean (1 + mean / r).

    .. math:: P(x) = \frac{\Gamma(x + r)}{\Gamma(r) x!} \sigma(u)^x \sigma(-u)^r

    Attributes:
        log_dispersion: log r; for a large r the distribution is close to Poisson.
        center, scale: The encoder sees (x - center) / scale.
    """

    has_base: ClassVar[bool] = True

    log_dispersion: LogNumber
    center: float
    scale: PositiveNumber

    @classmethod
    def likelihood(cls, heads: Sequence[CountHead]) -> CountLikelihood:
        """See :class:`~.base.HeadRecord`."""
        return CountLikelihood([head.log_dispersion for head in heads])

    @property
    def input_scaling(self) -> tuple[float, float]:
        """See :class:`~.base.HeadRecord`."""
        return self.center, self.scale

    def base(self, x: FloatArray) -> FloatArray:
        r"""Return :math:`\log \Gamma(x + r) / (\Gamma(r) x!)`."""
        dispersion = np.full_like(x, math.exp(self.log_dispersion))
        return log_gamma(x + dispersion) - log_gamma(dispersion) - log_gamma(x + 1.0)


class CountLikelihood:
    """Negative binomial with dispersion r_d and mean r_d exp(u_d), without :meth:`CountHead.base`."""

    def __init__(self, log_dispersion: Sequence[float]) -> None:
        """Take log r, one per column."""
        self._dispersion = np.exp(np.asarray(log_dispersion, dtype=np.float64))

    def log_prob(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`~.base.Likelihood`."""
        logits = np.clip(params, -LOGIT_LIMIT, LOGIT_LIMIT)
        return np.asarray(((x * logits - (x + self._dispersion) * softplus(logits)) * mask).sum(axis=-1))

    def slope(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`~.base.Likelihood`."""
        return (x - (x + self._dispersion) * sigmoid(params)) * mask

    def information(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:  # noqa: ARG002 (the same for every x)
        """See :class:`~.base.Likelihood`."""
        return self._dispersion * sigmoid(params) * mask

    def center(self, params: FloatArray) -> FloatArray:
        """See :class:`~.base.Likelihood`."""
        return np.asarray(self._dispersion * np.exp(np.clip(params, -LOGIT_LIMIT, LOGIT_LIMIT)))

    def draw(self, params: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Draw a Poisson number whose rate is a gamma number."""
        rate = rng.gamma(self._dispersion, np.exp(np.clip(params, -LOGIT_LIMIT, LOGIT_LIMIT)))
        return rng.poisson(np.minimum(rate, _LARGEST_RATE)).astype(np.float64)
