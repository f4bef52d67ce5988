"""Special functions of arrays, in float64; scipy is not a dependency of scoring."""

from __future__ import annotations

import math

import numpy as np

from anomaly_vae.arrays import LOG_2PI, FloatArray

__all__ = ["log_gamma", "sigmoid", "softplus"]

# Stirling's series with five terms has 14 correct digits for arguments of at least 10.
_LARGE = 10


def softplus(x: FloatArray) -> FloatArray:
    """Return log(1 + exp(x)) without overflow."""
    return np.asarray(np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x))))


def sigmoid(x: FloatArray) -> FloatArray:
    """Return 1 / (1 + exp(-x)) without overflow."""
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0.0, 1.0, small) / (1.0 + small))


def log_gamma(x: FloatArray) -> FloatArray:
    r"""Return log Gamma(x) of positive numbers, to about 13 digits.

    Below 10, the series is evaluated at x + 10, and ten steps of :math:`\Gamma(x) = \Gamma(x + 1) / x` lead back to x.

    References:
        NIST Digital Library of Mathematical Functions, 5.11.1, https://dlmf.nist.gov/5.11
    """
    below = np.where(x < _LARGE, x, 1.0)
    product = math.prod(below + i for i in range(_LARGE))
    y = np.where(x < _LARGE, x + _LARGE, x)
    inverse = 1.0 / (y * y)
    series = (1 / 12 - inverse * (1 / 360 - inverse * (1 / 1260 - inverse * (1 / 1680 - inverse / 1188)))) / y
    stirling = (y - 0.5) * np.log(y) - y + 0.5 * LOG_2PI + series
    return np.asarray(np.where(x < _LARGE, stirling - np.log(product), stirling))
