"""A Bernoulli head for values 0 and 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.heads.base import LOGIT_LIMIT, HeadRecord
from anomaly_vae.columns.special import sigmoid, softplus

__all__ = ["BernoulliHead", "BernoulliLikelihood"]


class BernoulliHead(HeadRecord, tag="bernoulli"):
    """P(x = 1) = sigmoid(logit(z))."""

    @classmethod
    def likelihood(cls, heads: Sequence[BernoulliHead]) -> BernoulliLikelihood:  # noqa: ARG003 (they have no fields)
        """See :class:`~.base.HeadRecord`."""
        return BernoulliLikelihood()


class BernoulliLikelihood:
    """P(x_d = 1) = sigmoid(logit_d)."""

    def log_prob(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`~.base.Likelihood`."""
        logits = np.clip(params, -LOGIT_LIMIT, LOGIT_LIMIT)
        return np.asarray(((x * logits - softplus(logits)) * mask).sum(axis=-1))

    def slope(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`~.base.Likelihood`."""
        return (x - sigmoid(params)) * mask

    def information(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:  # noqa: ARG002 (the same for every x)
        """See :class:`~.base.Likelihood`."""
        p = sigmoid(params)
        return p * (1.0 - p) * mask

    def center(self, params: FloatArray) -> FloatArray:
        """See :class:`~.base.Likelihood`."""
        return np.asarray(sigmoid(params))

    def draw(self, params: FloatArray, rng: np.random.Generator) -> FloatArray:
        """See :class:`~.base.Likelihood`."""
        return (rng.random(params.shape) < sigmoid(params)).astype(np.float64)
