"""Synthetic rows from a model: z from the prior, x from p(x|z)."""

from __future__ import annotations

import numpy as np

from anomaly_vae.densities import FloatArray
from anomaly_vae.manifest import GaussianHead
from anomaly_vae.runtime import Network
from anomaly_vae.schema import Schema
from anomaly_vae.transforms import Standardise

__all__ = ["sample_rows"]

_TILE_ROWS = 256


def sample_rows(
    network: Network,
    n: int,
    seed: int,
    *,
    latent_dim: int,
    schema: Schema,
    transform: Standardise,
    likelihood: GaussianHead,
) -> FloatArray:
    """Draw n rows in data units, shape (n, D); constant columns hold their value."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, latent_dim))
    noise = rng.standard_normal((n, len(schema.modelled)))
    loc = np.empty_like(noise)
    for start in range(0, n, _TILE_ROWS):
        tile = np.zeros((_TILE_ROWS, latent_dim), dtype=np.float32)
        kept = min(_TILE_ROWS, n - start)
        tile[:kept] = z[start : start + kept]
        loc[start : start + kept] = network.decode(tile)[:kept]
    rows = np.empty((n, len(schema.columns)))
    rows[:, schema.modelled] = transform.inverse(loc + np.exp(0.5 * np.asarray(likelihood.log_var)) * noise)
    for d, column in enumerate(schema.columns):
        if column.value is not None:
            rows[:, d] = column.value
    return rows
