"""Latent positions as points of a map."""

from __future__ import annotations

import numpy as np

from anomaly_vae.arrays import FloatArray

__all__ = ["project"]


def project(means: FloatArray, among: FloatArray | None = None) -> tuple[FloatArray, str]:
    """Return positions (N, L) as points (N, 2), and what their axes are, in words.

    Args:
        means: The positions.
        among: Positions whose principal directions are the axes, shape (M, L); None for those of ``means``.
    """
    dims, among = means.shape[1], means if among is None else among
    if dims == 2:
        return means, "the two latent dimensions"
    if dims == 1:
        return np.column_stack([means[:, 0], np.zeros(len(means))]), "the only latent dimension"
    middle = among.mean(axis=0)
    centred = among - middle
    _, directions = np.linalg.eigh(centred.T @ centred)  # ascending
    axes = directions[:, :-3:-1]
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), [0, 1]] < 0, -1.0, 1.0)  # one sign of two equal maps
    total = float(np.square(centred).sum())
    share = float(np.square(centred @ axes).sum()) / total if total > 0 else 1.0
    text = f"the first two principal directions of {dims} latent dimensions, {share:.0%} of the variance"
    return (means - middle) @ axes, text
