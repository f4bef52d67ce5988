"""Modes of p(z|x), found by Gauss-Newton, with the Laplace approximation there: pure functions of a decoder.

Axes: N rows or starting points, L latent dimensions, F features, P decoder outputs. No product is taken of 2-D arrays,
whose bits would change with N: stacks are multiplied matrix by matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.densities import LOG_2PI, FloatArray
from anomaly_vae.likelihood import Likelihood

__all__ = ["Decoder", "Modes", "find_modes", "times"]

Decoder = Callable[[FloatArray], FloatArray]
IntArray = NDArray[np.int64]

# No step leads further out than this: beyond, float32 has no digits left for the decoder.
_FURTHEST = 1e6

# Finite differences, in units of max(1, |z|): the decoder is float32, so its rounding ends up at 1e-5 of a slope.
_STEP = 0.01

# Of the largest curvature, added to all: far more than rounding takes away, far less than matters.
_RIDGE = 1e-11

# A curvature beyond is no number to work with.
_MOST_CURVED = 1e200

# Products of more multiplications may be split among threads by the library under numpy.
_ONE_THREAD = 2**18


class Modes(NamedTuple):
    """A Laplace approximation of p(z|x) each: N(loc, root rootᵀ).

    Attributes:
        loc: The mode, shape (N, L).
        root, inverse_root: Shape (N, L, L).
        log_scale: Logarithm of the determinant of root, shape (N,).
        log_evidence: log p(x) were the approximation exact, nats, shape (N,).
    """

    loc: FloatArray
    root: FloatArray
    inverse_root: FloatArray
    log_scale: FloatArray
    log_evidence: FloatArray

    def pick(self, which: IntArray) -> Modes:
        """Of M modes of each row, (M, N, ...), the which-th (N,)."""
        rows = np.arange(len(which))
        return Modes(*(values[which, rows] for values in self))


def find_modes(
    decode: Decoder, likelihood: Likelihood, x: FloatArray, mask: FloatArray, start: FloatArray, steps: int
) -> Modes:
    r"""Climb from each start to a mode of p(z|x) by damped Gauss-Newton (Levenberg-Marquardt) steps.

    .. math:: g = J^\top s - z, \qquad H = J^\top F J + I

    with s the slope and F the Fisher information of log p(x|z) in the decoder's output, and J its Jacobian, by forward
    differences: L + 1 decoder evaluations a step, and as many at the start. A step that does not climb is undone.

    Args:
        decode: z (M, L) -> decoder output (M, P).
        likelihood: The heads.
        x, mask: Rows in model units and which of their cells are there, one per start, shape (N, F).
        start: Shape (N, L).
        steps: The same for all rows, so that the cost is known.

    References:
        Marquardt, An Algorithm for Least-Squares Estimation of Nonlinear Parameters (1963)
    """
    at = _look(decode, likelihood, x, mask, start)
    damping = np.zeros(len(x))
    for _ in range(steps):
        to = _look(decode, likelihood, x, mask, at.z + _newton_step(at, damping))
        better = to.log_joint > at.log_joint  # False for NaN
        at = _Point(*(_where(better, new, old) for new, old in zip(to, at, strict=True)))
        damping = np.where(better, damping * 0.2, np.maximum(damping * 8.0, 0.3))
        damping = np.where(damping < 1e-3, 0.0, damping)
    lower = _cholesky(at.hessian)
    log_scale = -np.log(np.ascontiguousarray(np.diagonal(lower, axis1=1, axis2=2))).sum(axis=-1)
    inverse_root = np.ascontiguousarray(np.swapaxes(lower, 1, 2))
    return Modes(
        loc=at.z,
        root=np.asarray(np.linalg.inv(inverse_root), dtype=np.float64),
        inverse_root=inverse_root,
        log_scale=log_scale,
        log_evidence=at.log_joint + 0.5 * at.z.shape[1] * LOG_2PI + log_scale,
    )


def times(matrices: FloatArray, vectors: FloatArray) -> FloatArray:
    """Every matrix (N, M, L) times its vectors (N or 1, S, L), shape (N, S, M), as products of one shape each."""
    transposed = np.swapaxes(matrices, 1, 2)
    step = max(_ONE_THREAD // matrices[0].size, 1)
    parts = [np.matmul(vectors[:, s : s + step], transposed) for s in range(0, vectors.shape[1], step)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


class _Point(NamedTuple):
    """What is known of log p(x, z) at one z per row."""

    z: FloatArray
    log_joint: FloatArray
    gradient: FloatArray
    hessian: FloatArray


def _look(decode: Decoder, likelihood: Likelihood, x: FloatArray, mask: FloatArray, z: FloatArray) -> _Point:
    num_rows, latent_dim = z.shape
    z = np.clip(z, -_FURTHEST, _FURTHEST)
    steps = np.eye(latent_dim) * (_STEP * np.maximum(1.0, np.abs(z)))[:, None, :]
    stencil = np.concatenate([z[:, None, :], z[:, None, :] + steps], axis=1)
    stencil = stencil.astype(np.float32).astype(np.float64)  # as the decoder sees them
    loc = decode(stencil.reshape(-1, latent_dim)).reshape(num_rows, latent_dim + 1, -1)
    taken = np.diagonal(stencil[:, 1:], axis1=1, axis2=2) - stencil[:, 0]
    z, centre = np.ascontiguousarray(stencil[:, 0]), np.ascontiguousarray(loc[:, 0])
    jacobian = (loc[:, 1:] - centre[:, None, :]) / taken[:, :, None]
    curvature = times(jacobian, jacobian * likelihood.information(x, mask, centre)[:, None, :]) + np.eye(latent_dim)
    usable = np.asarray((np.abs(curvature) < _MOST_CURVED).all(axis=(1, 2)))  # False for NaN
    return _Point(
        z=z,
        log_joint=likelihood.log_prob(x, mask, centre) - 0.5 * (LOG_2PI + z**2).sum(axis=-1),
        gradient=(jacobian * likelihood.slope(x, mask, centre)[:, None, :]).sum(axis=-1) - z,
        hessian=_where(usable, curvature, np.broadcast_to(np.eye(latent_dim), curvature.shape)),
    )


def _cholesky(hessian: FloatArray) -> FloatArray:
    """Lower factors of I + something non-negative, which rounding may have made indefinite where it is very large.

    Not eigenvectors: their signs hang on the last bit, so that two machines would draw different samples.
    """
    size = np.ascontiguousarray(np.diagonal(hessian, axis1=1, axis2=2)).max(axis=-1)
    return np.linalg.cholesky(hessian + _RIDGE * size[:, None, None] * np.eye(hessian.shape[1]))


def _newton_step(at: _Point, damping: FloatArray) -> FloatArray:
    diagonal = np.diagonal(at.hessian, axis1=1, axis2=2)
    damped = at.hessian + damping[:, None, None] * diagonal[:, None, :] * np.eye(at.z.shape[1])
    return np.asarray(np.linalg.solve(damped, at.gradient[:, :, None])[:, :, 0])


def _where(condition: NDArray[np.bool_], new: FloatArray, old: FloatArray) -> FloatArray:
    """Rows of one or the other array."""
    return np.asarray(np.where(condition.reshape(-1, *[1] * (new.ndim - 1)), new, old))
