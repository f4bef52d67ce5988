"""What the proposal needs to know of p(x|z): its density, slope and curvature in the decoder's output.

A head is a class of this module, a table's likelihood one head for each block of columns. Everything else works with
the protocol. What does not depend on z is left out of heads of counts: :class:`anomaly_vae.features.Inputs` has it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from anomaly_vae.densities import LOG_2PI, FloatArray
from anomaly_vae.layout import Block, Layout
from anomaly_vae.special import log_gamma, sigmoid, softplus

__all__ = [
    "LOGIT_LIMIT",
    "RAW_LIMIT",
    "BernoulliLikelihood",
    "CategoricalLikelihood",
    "ConditionalLikelihood",
    "CountLikelihood",
    "GaussianLikelihood",
    "Likelihood",
    "LogisticLikelihood",
    "StudentTLikelihood",
    "TableLikelihood",
]

# Logits are cut here: probabilities down to 1e-13, and no exponential that float32 cannot hold.
LOGIT_LIMIT = 30.0

# Raw log-variances given by z are cut here, model units.
RAW_LIMIT = 8.0

# Nearer to the middle of a logistic distribution, in scales, its slope is a line.
_NEAR = 1e-3


class Likelihood(Protocol):
    """p(x|z) as a function of the decoder's output, in model units; shapes broadcast.

    x and mask have features in their last axis, (..., F), params the decoder's output, (..., P).
    """

    def log_prob(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """log p(x|z) summed over the columns that the mask keeps, (...,)."""
        ...

    def slope(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """Derivative of log p(x|z) by the parameters, (..., P)."""
        ...

    def information(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """Curvature of -log p(x|z) in each parameter, non-negative, (..., P).

        The Fisher information, which for heads of light tails is the curvature whatever x is. For heavy tails slope
        over residual, the curvature of the parabola that touches them: far values hardly hold z.
        """
        ...


class TableLikelihood:
    """One likelihood for each block of a layout."""

    def __init__(self, layout: Layout) -> None:
        """Make the blocks' likelihoods."""
        self._parts = [(block, _LIKELIHOODS[block.kind](block)) for block in layout.blocks]
        self._num_params = layout.num_params

    def log_prob(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`Likelihood`."""
        parts = [
            likelihood.log_prob(x[..., block.features], mask[..., block.features], params[..., block.params])
            for block, likelihood in self._parts
        ]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    def slope(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`Likelihood`."""
        parts = [
            likelihood.slope(x[..., block.features], mask[..., block.features], params[..., block.params])
            for block, likelihood in self._parts
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)

    def information(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`Likelihood`."""
        parts = [
            likelihood.information(x[..., block.features], mask[..., block.features], params[..., block.params])
            for block, likelihood in self._parts
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)


class GaussianLikelihood:
    """N(loc_d, exp(log_var_d)), one variance per column."""

    def __init__(self, log_var: Sequence[float]) -> None:
        """Log-variances in model units, one per column."""
        log_vars = np.asarray(log_var, dtype=np.float64)
        self._precision = np.exp(-log_vars)
        self._constants = LOG_2PI + log_vars

    def log_prob(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`Likelihood`."""
        squares = x - params
        squares *= squares
        squares *= self._precision * mask
        constant = (self._constants * mask).sum(axis=-1)
        return np.asarray(-0.5 * (constant + squares.sum(axis=-1)))

    def slope(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`Likelihood`."""
        return (x - params) * (self._precision * mask)

    def information(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:  # noqa: ARG002 (it does not matter here)
        """See :class:`Likelihood`."""
        values = self._precision * mask
        return np.broadcast_to(values, np.broadcast_shapes(values.shape, params.shape))


class ConditionalLikelihood:
    """N(loc_d, floor_d^2 + exp(raw_d)); the parameters are all locs, then all raws."""

    def __init__(self, floors: Sequence[float]) -> None:
        """Smallest standard deviations in model units, one per column."""
        self._floor = np.square(np.asarray(floors, dtype=np.float64))

    def log_prob(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`Likelihood`."""
        loc, variance, _ = self._split(params)
        terms = LOG_2PI + np.log(variance) + np.square(x - loc) / variance
        return np.asarray(-0.5 * (terms * mask).sum(axis=-1))

    def slope(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`Likelihood`."""
        loc, variance, grown = self._split(params)
        residual = x - loc
        by_loc, by_raw = residual / variance, 0.5 * (np.square(residual) / variance - 1.0) * grown
        return np.concatenate([by_loc * mask, by_raw * mask], axis=-1)

    def information(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:  # noqa: ARG002 (it does not matter here)
        """See :class:`Likelihood`."""
        _, variance, grown = self._split(params)
        return np.concatenate([mask / variance, 0.5 * np.square(grown) * mask], axis=-1)

    def _split(self, params: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """loc, variance, and the share of the variance that grows with raw."""
        loc, raw = np.split(params, 2, axis=-1)
        free = np.exp(np.clip(raw, -RAW_LIMIT, RAW_LIMIT))
        variance = self._floor + free
        return loc, variance, free / variance


class StudentTLikelihood:
    """Student's t around loc_d."""

    def __init__(self, log_scale: Sequence[float], freedom: Sequence[float]) -> None:
        """Log-scales in model units and degrees of freedom, one per column."""
        scale, nu = np.exp(np.asarray(log_scale, dtype=np.float64)), np.asarray(freedom, dtype=np.float64)
        self._nu, self._spread = nu, nu * scale**2
        gamma = log_gamma(0.5 * (nu + 1.0)) - log_gamma(0.5 * nu)
        self.constants = gamma - 0.5 * (np.log(nu) + math.log(math.pi)) - np.log(scale)

    def log_prob(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`Likelihood`."""
        terms = self.constants - 0.5 * (self._nu + 1.0) * np.log1p(np.square(x - params) / self._spread)
        return np.asarray((terms * mask).sum(axis=-1))

    def slope(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`Likelihood`."""
        residual = x - params
        return np.asarray((self._nu + 1.0) * residual / (self._spread + np.square(residual)) * mask)

    def information(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`Likelihood`."""
        return np.asarray((self._nu + 1.0) / (self._spread + np.square(x - params)) * mask)


class LogisticLikelihood:
    r"""Probability of the cell around x under a logistic distribution around loc_d.

    With a and b the cell's ends, :math:`\sigma(b) - \sigma(a) = \sigma(b) \sigma(-a) (1 - e^{a - b})`, which has a
    logarithm however far x is.
    """

    def __init__(self, log_scale: Sequence[float], steps: Sequence[float]) -> None:
        """Log-scales and widths of the cells, model units, one per column."""
        self._scale, step = np.exp(np.asarray(log_scale, dtype=np.float64)), np.asarray(steps, dtype=np.float64)
        self._half = 0.5 * step / self._scale
        self.constants = np.log(-np.expm1(-step / self._scale))

    def log_prob(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`Likelihood`."""
        middle = (x - params) / self._scale
        terms = self.constants - softplus(-middle - self._half) - softplus(middle - self._half)
        return np.asarray((terms * mask).sum(axis=-1))

    def slope(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`Likelihood`."""
        middle = (x - params) / self._scale
        return (sigmoid(middle - self._half) - sigmoid(-middle - self._half)) / self._scale * mask

    def information(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`Likelihood`."""
        middle = np.abs(x - params) / self._scale
        near = np.maximum(middle, _NEAR)
        slope = sigmoid(near - self._half) - sigmoid(-near - self._half)
        return np.asarray(slope / (near * self._scale**2) * mask)


class BernoulliLikelihood:
    """P(x_d = 1) = sigmoid(logit_d)."""

    def log_prob(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`Likelihood`."""
        logits = np.clip(params, -LOGIT_LIMIT, LOGIT_LIMIT)
        return np.asarray(((x * logits - softplus(logits)) * mask).sum(axis=-1))

    def slope(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`Likelihood`."""
        return (x - sigmoid(params)) * mask

    def information(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:  # noqa: ARG002 (it does not matter here)
        """See :class:`Likelihood`."""
        p = sigmoid(params)
        return p * (1.0 - p) * mask


class CountLikelihood:
    """Negative binomial with dispersion r_d and mean r_d exp(u_d), without what does not depend on u."""

    def __init__(self, log_dispersion: Sequence[float]) -> None:
        """log r, one per column."""
        self._dispersion = np.exp(np.asarray(log_dispersion, dtype=np.float64))

    def log_prob(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`Likelihood`."""
        logits = np.clip(params, -LOGIT_LIMIT, LOGIT_LIMIT)
        return np.asarray(((x * logits - (x + self._dispersion) * softplus(logits)) * mask).sum(axis=-1))

    def slope(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`Likelihood`."""
        return (x - (x + self._dispersion) * sigmoid(params)) * mask

    def information(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:  # noqa: ARG002 (it does not matter here)
        """See :class:`Likelihood`."""
        return self._dispersion * sigmoid(params) * mask


class CategoricalLikelihood:
    """softmax(logits) of each column; x is 1 at its category and 0 elsewhere."""

    def __init__(self, sizes: Sequence[int]) -> None:
        """Categories of each column."""
        self._starts = np.cumsum((0, *sizes[:-1]))
        self._expand = np.repeat(np.arange(len(sizes)), sizes)

    def log_prob(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`Likelihood`."""
        logits = np.clip(params, -LOGIT_LIMIT, LOGIT_LIMIT)
        log_total = np.log(np.add.reduceat(np.exp(logits), self._starts, axis=-1))
        kept = (log_total * mask[..., self._starts]).sum(axis=-1)
        return np.asarray((x * logits * mask).sum(axis=-1) - kept)

    def slope(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:
        """See :class:`Likelihood`."""
        return (x - self._probabilities(params)) * mask

    def information(self, x: FloatArray, mask: FloatArray, params: FloatArray) -> FloatArray:  # noqa: ARG002 (it does not matter here)
        """See :class:`Likelihood`."""
        p = self._probabilities(params)
        return p * (1.0 - p) * mask

    def _probabilities(self, params: FloatArray) -> FloatArray:
        weights = np.exp(np.clip(params, -LOGIT_LIMIT, LOGIT_LIMIT))
        return weights / np.add.reduceat(weights, self._starts, axis=-1)[..., self._expand]


def _values(block: Block, name: str) -> list[float]:
    return [getattr(head, name) for head in block.heads]


_LIKELIHOODS: dict[str, Callable[[Block], Likelihood]] = {
    "gaussian": lambda block: GaussianLikelihood(_values(block, "log_var")),
    "conditional": lambda block: ConditionalLikelihood(_values(block, "floor")),
    "student_t": lambda block: StudentTLikelihood(_values(block, "log_scale"), _values(block, "freedom")),
    "logistic": lambda block: LogisticLikelihood(_values(block, "log_scale"), _values(block, "cell")),
    "bernoulli": lambda _: BernoulliLikelihood(),
    "count": lambda block: CountLikelihood(_values(block, "log_dispersion")),
    "categorical": lambda block: CategoricalLikelihood(block.sizes),
}
