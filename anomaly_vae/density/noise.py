"""The fixed standard normal points behind the samples of every row."""

from __future__ import annotations

import math
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray, standard_normal_log_prob
from anomaly_vae.density.network import Float32Array

__all__ = ["FREEDOM", "Noise"]

# Slices kept. Chosen, not measured: scoring uses a few, one for each round of sampling.
_CACHED_SLICES = 32

# Degrees of freedom of the heavy-tailed proposals, an even number. Measured on the normal rows of 4 ADBench tables with
# default models, 128 samples: Pareto k exceeds 0.7 for 11 % with Gaussian proposals, for 6 % with 6 degrees, for 5 %
# with 4 and for 4 % with 3. The fewer degrees, the larger the standard error.
FREEDOM = 4

# Limits of chi-squared quantiles, and bisections between them: 60 halvings of this range reach float64 precision.
_LARGEST_CHI_SQUARED, _BISECTIONS = 200.0, 60


class Noise:
    """The bundle's points, shape (R, n, L + 1): R independent scramblings of n points each.

    All rows share the points, so scores are deterministic.

    Attributes:
        values: Standard normal points, shape (R, n, L).
        radii: Factors that turn them into points of Student's t with :data:`FREEDOM` degrees, shape (R, n). They follow
            from the last coordinate.
    """

    def __init__(self, values: NDArray[np.float32], radii: FloatArray | None = None) -> None:
        """Keep the points; the results of ``slice`` are cached."""
        if radii is None:
            values, radii = np.ascontiguousarray(values[..., :-1]), _radii(values[..., -1].astype(np.float64))
        self.values, self.radii = values, radii
        self.scramblings, self.num_points, self.latent_dim = values.shape
        # Not a method: in a cycle with its cache the noise would outlive its model until a garbage collection.
        self.slice = lru_cache(maxsize=_CACHED_SLICES)(partial(_slice, values))

    def of_member(self, member: int, num_members: int, latent_dim: int) -> Noise:
        """Return a member's part of the points, with its first dimensions only.

        Members have different points, so that their errors are independent. The parts of a Sobol sequence whose length
        is a power of two are as evenly spread as its start.
        """
        size = self.num_points // num_members
        part = slice(member * size, (member + 1) * size)
        return Noise(np.ascontiguousarray(self.values[:, part, :latent_dim]), self.radii[:, part])


def _slice(values: Float32Array, start: int, end: int) -> tuple[Float32Array, FloatArray]:
    """Return points start to end of every scrambling, (R (end - start), L), and their log-density under N(0, I)."""
    points = np.ascontiguousarray(values[:, start:end]).reshape(-1, values.shape[-1])
    return points, standard_normal_log_prob(points.astype(np.float64))


def _radii(normal: FloatArray) -> FloatArray:
    r"""Return sqrt(nu / c) with c the quantile of chi-squared with nu degrees of freedom at the level Phi(e).

    For an even nu the distribution function is :math:`1 - e^{-c/2} \sum_{k < \nu/2} (c/2)^k / k!`. The quantile is
    found by bisection.
    """
    upper = np.array([0.5 * math.erfc(value / math.sqrt(2.0)) for value in normal.ravel()]).reshape(normal.shape)
    low, high = np.zeros_like(upper), np.full_like(upper, _LARGEST_CHI_SQUARED)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        half = 0.5 * middle
        series, term = np.zeros_like(half), np.ones_like(half)
        for k in range(FREEDOM // 2):
            series += term
            term = term * half / (k + 1)
        above = np.exp(-half) * series > upper  # the quantile is above the middle
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.asarray(np.sqrt(FREEDOM / (0.5 * (low + high))))
