"""The noise that all rows are scored with: independently scrambled Sobol sets, mapped to the normal distribution."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import qmc

__all__ = ["sobol_normal"]


def sobol_normal(scramblings: int, points: int, latent_dim: int, seed: int) -> NDArray[np.float32]:
    """Return standard normal points of R independent scramblings, float32 (R, n, L); n is a power of two.

    References:
        Scrambled net variance for integrals of smooth functions (Owen, 1997); Sobol directions by Joe & Kuo (2008)
    """
    sets = [
        qmc.Sobol(latent_dim, scramble=True, bits=32, rng=np.random.default_rng([seed, r, 1])).random(points)
        for r in range(scramblings)
    ]
    # A scrambled coordinate may be exactly 0, and the normal quantile of 0 is minus infinity. The Sobol points are
    # multiples of 2^-32, so clip at half a step.
    uniform = np.clip(np.stack(sets), 2.0**-33, 1.0 - 2.0**-33)
    return np.asarray(ndtri(uniform), dtype=np.float32)
