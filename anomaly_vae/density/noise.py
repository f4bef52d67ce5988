"""The fixed standard normal points behind the samples of every row."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray, standard_normal_log_prob
from anomaly_vae.density.network import Float32Array

__all__ = ["Noise"]

# Slices kept. Chosen, not measured: scoring uses a few, one for each pilot round, budget and error check.
_CACHED_SLICES = 32


class Noise:
    """The bundle's standard normal points, shape (R, n, L): R independent scramblings of n points each.

    All rows share the points, so scores are deterministic.
    """

    def __init__(self, values: NDArray[np.float32]) -> None:
        """Keep the points; the results of ``slice`` are cached."""
        self.values = values
        self.scramblings, self.num_points, self.latent_dim = values.shape
        self.slice = lru_cache(maxsize=_CACHED_SLICES)(self._slice)

    def narrowed(self, latent_dim: int) -> Noise:
        """Return the same points with their first dimensions only."""
        return self if latent_dim == self.latent_dim else Noise(np.ascontiguousarray(self.values[..., :latent_dim]))

    def _slice(self, start: int, end: int) -> tuple[Float32Array, FloatArray]:
        """Return points start to end of every scrambling, (R (end - start), L), and their log-density under N(0, I)."""
        points = np.ascontiguousarray(self.values[:, start:end]).reshape(-1, self.latent_dim)
        return points, standard_normal_log_prob(points.astype(np.float64))
