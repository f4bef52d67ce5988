"""The arrays of a Partial, for comparisons."""

from __future__ import annotations

import numpy as np

from anomaly_vae.density.partial import Partial

__all__ = ["flat"]


def flat(partial: Partial) -> list[np.ndarray]:
    """Return all arrays, each with one entry or row for every row."""
    of_members = [values for each in partial.estimates for values in each]
    return [*of_members, *partial.elbo, *partial.spent, partial.is_certified, *partial.modes]
