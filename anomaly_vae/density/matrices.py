"""Products and factors of stacks of small matrices, (N, L, L), whose bits do not depend on N. Pure functions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray

# Pivots below this share of the diagonal count as not positive. Chosen, not measured: far above float64 rounding.
_ROUNDING = 1e-9

__all__ = ["cholesky", "multiply_stacks", "sum_of_squares", "where_rows"]

# Largest number of multiplications in one matrix product. The BLAS library under numpy may split larger products among
# threads, which changes their bits. Chosen, not measured: smaller products are slower. tests/density/test_matrices.py
# checks the bits.
_MAX_MULTIPLICATIONS = 2**18


def multiply_stacks(matrices: FloatArray, vectors: FloatArray) -> FloatArray:
    """Multiply each matrix (N, M, L) by its vectors (N or 1, L, S) -> (N, M, S), in products whose shape ignores N."""
    step = max(_MAX_MULTIPLICATIONS // (matrices.shape[1] * matrices.shape[2]), 1)
    parts = [np.matmul(matrices, vectors[:, :, s : s + step]) for s in range(0, vectors.shape[2], step)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)


def sum_of_squares(vectors: FloatArray) -> FloatArray:
    """Return the squared lengths of vectors, (N, L, S) -> (N, S); they are overwritten."""
    np.square(vectors, out=vectors)
    total = vectors[:, 0].copy()
    for i in range(1, vectors.shape[1]):  # a reduction may change its bits with N
        total += vectors[:, i]
    return total


def cholesky(matrices: FloatArray, least_pivot: float) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return lower Cholesky factors and which of them exist: those of matrices whose pivots are above a number.

    A matrix without a factor gets the identity.
    """
    try:
        lower = np.asarray(np.linalg.cholesky(matrices), dtype=np.float64)
        exists = np.ones(len(matrices), dtype=bool)
    except np.linalg.LinAlgError:  # one bad matrix is enough
        lower = np.zeros_like(matrices) + np.eye(matrices.shape[1])
        exists = _is_positive_definite(matrices)
        lower[exists] = np.linalg.cholesky(matrices[exists])
    pivots = np.square(np.diagonal(lower, axis1=1, axis2=2))
    least = np.maximum(least_pivot, _ROUNDING * np.diagonal(matrices, axis1=1, axis2=2))
    exists &= (pivots > least).all(axis=1)
    if not exists.all():
        lower[~exists] = np.eye(matrices.shape[1])
    return lower, exists


def _is_positive_definite(matrices: FloatArray) -> NDArray[np.bool_]:
    """Return which matrices have positive pivots, far enough from 0 that rounding does not matter.

    Only the lower triangle counts, as for LAPACK: float32 networks return matrices that are not quite symmetric.
    """
    rest = matrices.copy()
    least = _ROUNDING * np.diagonal(matrices, axis1=1, axis2=2)
    positive = np.ones(len(rest), dtype=bool)
    for j in range(rest.shape[1]):
        pivot = rest[:, j, j]
        positive &= pivot > np.maximum(least[:, j], 0.0)  # False for NaN
        usable = np.where(positive, pivot, 1.0)[:, None]
        column = np.where(positive[:, None], rest[:, j + 1 :, j] / usable, 0.0)
        rest[:, j + 1 :, j + 1 :] -= column[:, :, None] * rest[:, None, j + 1 :, j]
    return positive


def where_rows(condition: NDArray[np.bool_], new: FloatArray, old: FloatArray) -> FloatArray:
    """Choose rows (N, ...) from one of two arrays by a condition (N,)."""
    return np.asarray(np.where(condition.reshape(-1, *[1] * (new.ndim - 1)), new, old))
