"""Transforms of one column: forward, inverse and derivative, in float64."""

from __future__ import annotations

import math

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.record import Record

__all__ = ["FAR", "Standardise", "Transform", "YeoJohnson"]

# Training clips values to +-20 standard deviations, so that a few outliers do not outweigh all other values in the
# loss. Chosen, not measured.
FAR = 20.0


class Standardise(Record, tag="standardise", tag_field="kind"):
    """x -> (x - center) / scale.

    Attributes:
        center: Mean of the training rows, data units.
        scale: Standard deviation of the training rows, data units, positive.
    """

    center: float
    scale: float

    def forward(self, x: FloatArray) -> FloatArray:
        """Convert data units to model units; a value too large for float64 becomes infinite."""
        with np.errstate(over="ignore"):
            return np.asarray((x - self.center) / self.scale)

    def inverse(self, y: FloatArray) -> FloatArray:
        """Convert model units to data units."""
        return np.asarray(y * self.scale + self.center)

    def log_slope(self, x: FloatArray) -> FloatArray:
        r"""Return :math:`\log |dy/dx|`, which turns a log-density in model units into one in data units, nats."""
        return np.full(np.shape(x), -math.log(self.scale))


class YeoJohnson(Record, tag="yeo-johnson", tag_field="kind"):
    r"""Standardise, apply a power function, standardise again; for skewed columns.

    .. math:: y = (\psi_\lambda((x - a) / b) - c) / s, \qquad
              \psi_\lambda(u) = \begin{cases} ((1 + u)^\lambda - 1) / \lambda & u \ge 0 \\
              -((1 - u)^{2 - \lambda} - 1) / (2 - \lambda) & u < 0 \end{cases}

    An exponent of 0 stands for the logarithm.

    Attributes:
        power: lambda, between 0 and 2, so that every real number has an inverse.
        origin, unit: a and b, data units.
        center, scale: c and s.

    References:
        A New Family of Power Transformations to Improve Normality or Symmetry (Yeo & Johnson, 2000)
    """

    power: float
    origin: float
    unit: float
    center: float
    scale: float

    def forward(self, x: FloatArray) -> FloatArray:
        """Convert data units to model units; a value too large for float64 becomes infinite."""
        with np.errstate(over="ignore"):
            u = (x - self.origin) / self.unit
            above = _power(np.maximum(u, 0.0), self.power)
            below = _power(np.maximum(-u, 0.0), 2.0 - self.power)
            return np.asarray((above - below - self.center) / self.scale)

    def inverse(self, y: FloatArray) -> FloatArray:
        """Convert model units to data units."""
        v = y * self.scale + self.center
        above = _inverse_power(np.maximum(v, 0.0), self.power)
        below = _inverse_power(np.maximum(-v, 0.0), 2.0 - self.power)
        return np.asarray((above - below) * self.unit + self.origin)

    def log_slope(self, x: FloatArray) -> FloatArray:
        r"""Return :math:`\log |dy/dx|`, which turns a log-density in model units into one in data units, nats."""
        u = (x - self.origin) / self.unit
        exponent = np.where(u >= 0.0, self.power - 1.0, 1.0 - self.power)
        return np.asarray(exponent * np.log1p(np.abs(u)) - math.log(self.unit * self.scale))


Transform = Standardise | YeoJohnson


def _power(u: FloatArray, exponent: float) -> FloatArray:
    """Return ((1 + u)^e - 1) / e for u >= 0, or log(1 + u) if e is 0."""
    grown = np.log1p(u)
    return np.asarray(grown if exponent == 0.0 else np.expm1(exponent * grown) / exponent)


def _inverse_power(v: FloatArray, exponent: float) -> FloatArray:
    return np.asarray(np.expm1(v if exponent == 0.0 else np.log1p(exponent * v) / exponent))
