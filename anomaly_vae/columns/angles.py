"""Numbers on a circle: only their remainder modulo a period counts."""

from __future__ import annotations

import math

import numpy as np

from anomaly_vae.arrays import FloatArray

__all__ = ["from_angle", "to_angle", "wrapped"]


def wrapped(values: FloatArray, period: float) -> FloatArray:
    """Return the values modulo the period, in [0, period); NaN stays NaN."""
    found = np.mod(values, period)
    return np.asarray(np.where(found >= period, 0.0, found))  # a small negative value rounds to the period


def to_angle(values: FloatArray, period: float) -> FloatArray:
    """Return values in data units as angles in radians, between 0 and 2 pi."""
    return np.asarray(wrapped(values, period) / period * (2.0 * math.pi))


def from_angle(angles: FloatArray, period: float) -> FloatArray:
    """Return angles in radians as values in data units, in [0, period)."""
    return wrapped(angles / (2.0 * math.pi) * period, period)
