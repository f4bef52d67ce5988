"""Synthetic rows from a model: z from the prior, x from p(x|z)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.density import tiles
from anomaly_vae.density.member import Member

__all__ = ["sample_rows"]


def sample_rows(members: Sequence[Member], n: int, seed: int) -> FloatArray:
    """Draw n rows in data units from an ensemble, shape (n, D).

    Constant columns hold their value. No cell holds a value that training never had.
    """
    rng = np.random.default_rng(seed)
    which = rng.integers(len(members), size=n)
    rows = np.empty((n, len(members[0].features.schema.columns)))
    for m, member in enumerate(members):
        chosen = np.flatnonzero(which == m)
        if len(chosen):
            rows[chosen] = _sample_member(member, len(chosen), rng)
    return rows


def _sample_member(member: Member, n: int, rng: np.random.Generator) -> FloatArray:
    params = tiles.decode(member.network, member.prior.draw(n, member.latent_dim, rng))
    return member.features.decode(member.likelihood.draw(params, rng), rng)
