"""What a model makes of a position in its latent space: the middle of p(x|z)."""

from __future__ import annotations

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.density import tiles
from anomaly_vae.density.member import Member

__all__ = ["middle_rows"]


def middle_rows(member: Member, z: FloatArray) -> FloatArray:
    """Return the middle of p(x|z) as rows in data units, (N, L) -> (N, D).

    Numbers are means, rounded to the grid of a column that has one, and categories are the most probable ones.

    Args:
        member: The model.
        z: Positions in its latent space.
    """
    if not len(z):
        return np.empty((0, len(member.features.schema.columns)))
    return member.features.decode(member.likelihood.center(tiles.decode(member.network, z)))
