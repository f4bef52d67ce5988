"""What the proposal needs to know of p(x|z): its density, slope and curvature in the decoder's output.

A head is a class of this module; everything else works with the protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from anomaly_vae.densities import LOG_2PI, FloatArray

__all__ = ["GaussianLikelihood", "Likelihood"]


class Likelihood(Protocol):
    """p(x|z) as a function of the decoder's output loc, in model units; shapes broadcast."""

    def log_prob(self, x: FloatArray, loc: FloatArray) -> FloatArray:
        """log p(x|z) summed over the columns, (..., D), (..., D) -> (...,)."""
        ...

    def slope(self, x: FloatArray, loc: FloatArray) -> FloatArray:
        """Derivative of log p(x_d|z) by loc_d, (..., D)."""
        ...

    def information(self, loc: FloatArray) -> FloatArray:
        """Fisher information of loc_d, non-negative, (..., D)."""
        ...


class GaussianLikelihood:
    """N(loc_d, exp(log_var_d)), one variance per column."""

    def __init__(self, log_var: Sequence[float]) -> None:
        """Log-variances in model units, one per modelled column."""
        log_vars = np.asarray(log_var, dtype=np.float64)
        self._precision = np.exp(-log_vars)
        self._constant = -0.5 * float((LOG_2PI + log_vars).sum())

    def log_prob(self, x: FloatArray, loc: FloatArray) -> FloatArray:
        """See :class:`Likelihood`."""
        squares = x - loc
        squares *= squares
        squares *= self._precision
        return np.asarray(self._constant - 0.5 * squares.sum(axis=-1))

    def slope(self, x: FloatArray, loc: FloatArray) -> FloatArray:
        """See :class:`Likelihood`."""
        return (x - loc) * self._precision

    def information(self, loc: FloatArray) -> FloatArray:
        """See :class:`Likelihood`."""
        return np.broadcast_to(self._precision, loc.shape)
