"""Names of the values that a head adds to the posterior graph."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Derivatives"]


class Derivatives(NamedTuple):
    """Derivatives of log p(x|z) by the decoder's output: names of values of shape (N, P).

    Attributes:
        slope: First derivative.
        curvature: Minus the second derivative, of each output alone; negative for outliers under heavy tails.
        information: A curvature that is never negative; see :meth:`anomaly_vae.columns.likelihood.Likelihood`.
    """

    slope: str
    curvature: str
    information: str
