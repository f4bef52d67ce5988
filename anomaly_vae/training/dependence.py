"""How the columns of a table depend on each other: any correlation, and columns that are copies of others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.features import Features
from anomaly_vae.columns.transforms import FAR
from anomaly_vae.training.row_source import evenly
from anomaly_vae.training.torch_heads import STD_FLOOR

__all__ = ["NEAR_FLOOR", "has_structure", "linear_copies"]

# Correlation of two columns, in standard errors, that counts as structure. A table of 100 columns has 4,950 pairs; by
# chance one exceeds 5 standard errors in 0.3 % of such tables.
_MIN_CORRELATION = 5.0

# Rows to compute correlations from, at most, and rows with both cells of a pair, at least. Chosen, not measured.
_MAX_ROWS, _MIN_ROWS = 5000, 30

# Features whose pairs are looked at, at most. Chosen, not measured: a table of pairs then has 8 MiB.
_MAX_FEATURES = 1024

# A standard deviation below this many floors counts as at the floor. Chosen, not measured.
NEAR_FLOOR = 1.1

# Added to the variances before the inversion, model units: copies leave none. Chosen, not measured.
_RIDGE = 1e-6


def has_structure(features: Features, rows: FloatArray) -> bool:
    """Return whether any two columns are correlated beyond chance, over the rows that have both."""
    inputs = features.encode(rows[:_MAX_ROWS])
    looked_at = evenly(inputs.x.shape[1], _MAX_FEATURES)
    x, mask = np.clip(inputs.x[:, looked_at], -FAR, FAR), inputs.mask[:, looked_at]
    residual = (x - (x * mask).sum(axis=0) / np.maximum(mask.sum(axis=0), 1.0)) * mask
    squares, pairs = np.square(residual).T @ mask, mask.T @ mask
    correlation = np.abs(residual.T @ residual) / np.sqrt(np.maximum(squares * squares.T, 1e-30))
    column = features.layout.column_of_feature[looked_at]
    others = column[:, None] != column  # features of one categorical column always correlate
    return bool(np.any((correlation * np.sqrt(pairs) > _MIN_CORRELATION) & others & (pairs >= _MIN_ROWS)))


def linear_copies(features: Features, rows: FloatArray) -> NDArray[np.bool_]:
    """Return which columns a linear regression on all others predicts to the floor, in the layout's order, shape (M,).

    Tables with fewer rows than twice their features have no such regression: no column counts.
    """
    inputs = features.encode(rows[:_MAX_ROWS])
    x = np.clip(inputs.x, -FAR, FAR)
    found = np.zeros(len(features.layout.order), dtype=bool)
    if len(x) < 2 * x.shape[1]:
        return found
    covariance = np.atleast_2d(np.cov(x, rowvar=False)) + _RIDGE * np.eye(x.shape[1])
    residual = 1.0 / np.sqrt(np.diag(np.linalg.inv(covariance)))
    single = np.bincount(features.layout.column_of_feature) == 1
    first = np.searchsorted(features.layout.column_of_feature, np.arange(len(found)))
    return np.asarray(single & (residual[first] < NEAR_FLOOR * STD_FLOOR))
