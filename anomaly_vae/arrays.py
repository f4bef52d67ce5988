"""The array type of the package, and the standard normal log-density."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["LOG_2PI", "FloatArray", "standard_normal_log_prob"]

FloatArray = NDArray[np.float64]

LOG_2PI = math.log(2.0 * math.pi)


def standard_normal_log_prob(z: FloatArray) -> FloatArray:
    r"""Return the log-density of N(0, I), summed over the last axis.

    .. math:: \log p(z) = -\tfrac12 \sum_l \bigl[ \log 2\pi + z_l^2 \bigr]

    Args:
        z: Values, shape (..., L).

    Returns:
        Nats, shape (...,).
    """
    return np.asarray(-0.5 * (LOG_2PI + z**2).sum(axis=-1))
