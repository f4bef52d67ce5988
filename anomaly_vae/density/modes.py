"""Find modes of p(z|x) by Gauss-Newton, and the Laplace approximation at each. Pure functions of a decoder.

Axes: N rows or starting points, L latent dimensions, F features, P decoder outputs. Products are taken of stacks of
matrices, one by one: the bits of numpy's 2-D products change with N.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import LOG_2PI, FloatArray, standard_normal_log_prob
from anomaly_vae.columns.likelihood import Likelihood

__all__ = ["Decoder", "Modes", "find_modes", "multiply_stacks"]

Decoder = Callable[[FloatArray], FloatArray]
IntArray = NDArray[np.int64]

# Largest absolute coordinate of z. Chosen, not measured: at 1e6 float32 resolves 0.06, too coarse for the decoder.
_MAX_Z = 1e6

# Step of the finite differences, in units of max(1, |z|). Chosen, not measured: the decoder is float32, so rounding is
# about 1e-5 of a slope; a larger step has a larger truncation error.
_STEP = 0.01

# Added to the diagonal, as a share of the largest curvature. Chosen, not measured: much more than float64 rounding
# (1e-16), too little to change a proposal.
_RIDGE = 1e-11

# Largest absolute curvature. Above it the identity replaces the matrix: products of two such numbers overflow float64.
_MAX_CURVATURE = 1e200

# Levenberg-Marquardt damping, as a share of the diagonal: its factors after a step that climbs and one that does not,
# its least value after a failed step, and the value below which it is set to 0. Chosen, not measured: they trade the
# speed near a mode against the number of undone steps.
_DAMPING_DECREASE, _DAMPING_INCREASE = 0.2, 8.0
_MIN_FAILED_DAMPING, _MIN_DAMPING = 0.3, 1e-3

# Largest number of multiplications in one matrix product. The BLAS library under numpy may split larger products among
# threads, which changes their bits. Chosen, not measured: smaller products are slower. tests/density/test_modes.py
# checks the bits.
_MAX_MULTIPLICATIONS = 2**18


class Modes(NamedTuple):
    """A Laplace approximation N(loc, root rootᵀ) of p(z|x) for each row.

    Attributes:
        loc: The mode, shape (N, L).
        root, inverse_root: A root of the covariance and its inverse, shape (N, L, L).
        log_scale: Logarithm of the determinant of root, shape (N,).
        log_evidence: The approximation's estimate of log p(x), nats, shape (N,).
    """

    loc: FloatArray
    root: FloatArray
    inverse_root: FloatArray
    log_scale: FloatArray
    log_evidence: FloatArray

    def pick(self, which: IntArray) -> Modes:
        """Return one mode of each row, from M modes of each (M, N, ...) and its index (N,)."""
        rows = np.arange(len(which))
        return Modes(*(values[which, rows] for values in self))


def find_modes(
    decode: Decoder, likelihood: Likelihood, x: FloatArray, mask: FloatArray, start: FloatArray, steps: int
) -> Modes:
    r"""Climb from each start to a mode of p(z|x) by damped Gauss-Newton (Levenberg-Marquardt) steps.

    .. math:: g = J^\top s - z, \qquad H = J^\top F J + I

    with s the slope and F the Fisher information of log p(x|z) in the decoder's output, and J the decoder's Jacobian by
    forward differences: L + 1 decoder evaluations at the start and for each step. A step that does not increase
    log p(x, z) is undone.

    Args:
        decode: z (M, L) -> decoder output (M, P).
        likelihood: p(x|z) as a function of the decoder's output.
        x, mask: Rows in model units and which of their cells are present, one per start, shape (N, F).
        start: Shape (N, L).
        steps: Steps of every row: a fixed number, so that the cost is known and rows do not affect each other.

    References:
        Marquardt, An Algorithm for Least-Squares Estimation of Nonlinear Parameters (1963)
    """
    at = _evaluate(decode, likelihood, x, mask, start)
    damping = np.zeros(len(x))
    for _ in range(steps):
        to = _evaluate(decode, likelihood, x, mask, at.z + _newton_step(at, damping))
        better = to.log_joint > at.log_joint  # False for NaN
        at = _Point(*(_where(better, new, old) for new, old in zip(to, at, strict=True)))
        increased = np.maximum(damping * _DAMPING_INCREASE, _MIN_FAILED_DAMPING)
        damping = np.where(better, damping * _DAMPING_DECREASE, increased)
        damping = np.where(damping < _MIN_DAMPING, 0.0, damping)
    return _laplace(at)


def _laplace(at: _Point) -> Modes:
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


def multiply_stacks(matrices: FloatArray, vectors: FloatArray) -> FloatArray:
    """Multiply each matrix (N, M, L) by its vectors (N or 1, S, L) -> (N, S, M), in products whose shape ignores N."""
    transposed = np.swapaxes(matrices, 1, 2)
    step = max(_MAX_MULTIPLICATIONS // matrices[0].size, 1)
    parts = [np.matmul(vectors[:, s : s + step], transposed) for s in range(0, vectors.shape[1], step)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


class _Point(NamedTuple):
    """log p(x, z) and its derivatives at one z per row."""

    z: FloatArray
    log_joint: FloatArray
    gradient: FloatArray
    hessian: FloatArray


def _evaluate(decode: Decoder, likelihood: Likelihood, x: FloatArray, mask: FloatArray, z: FloatArray) -> _Point:
    num_rows, latent_dim = z.shape
    z = np.clip(z, -_MAX_Z, _MAX_Z)
    steps = np.eye(latent_dim) * (_STEP * np.maximum(1.0, np.abs(z)))[:, None, :]
    stencil = np.concatenate([z[:, None, :], z[:, None, :] + steps], axis=1)
    stencil = stencil.astype(np.float32).astype(np.float64)  # the values that the float32 decoder gets
    loc = decode(stencil.reshape(-1, latent_dim)).reshape(num_rows, latent_dim + 1, -1)
    taken = np.diagonal(stencil[:, 1:], axis1=1, axis2=2) - stencil[:, 0]
    z, centre = np.ascontiguousarray(stencil[:, 0]), np.ascontiguousarray(loc[:, 0])
    jacobian = (loc[:, 1:] - centre[:, None, :]) / taken[:, :, None]
    information = likelihood.information(x, mask, centre)
    curvature = multiply_stacks(jacobian, jacobian * information[:, None, :]) + np.eye(latent_dim)
    usable = np.asarray((np.abs(curvature) < _MAX_CURVATURE).all(axis=(1, 2)))  # False for NaN
    return _Point(
        z=z,
        log_joint=likelihood.log_prob(x, mask, centre) + standard_normal_log_prob(z),
        gradient=(jacobian * likelihood.slope(x, mask, centre)[:, None, :]).sum(axis=-1) - z,
        hessian=_where(usable, curvature, np.broadcast_to(np.eye(latent_dim), curvature.shape)),
    )


def _cholesky(hessian: FloatArray) -> FloatArray:
    """Return lower Cholesky factors of I + JᵀFJ, with a ridge: rounding may make very large matrices indefinite.

    Eigenvectors would not do: their signs depend on the last bit, so two machines would draw different samples.
    """
    size = np.ascontiguousarray(np.diagonal(hessian, axis1=1, axis2=2)).max(axis=-1)
    return np.linalg.cholesky(hessian + _RIDGE * size[:, None, None] * np.eye(hessian.shape[1]))


def _newton_step(at: _Point, damping: FloatArray) -> FloatArray:
    diagonal = np.diagonal(at.hessian, axis1=1, axis2=2)
    damped = at.hessian + damping[:, None, None] * diagonal[:, None, :] * np.eye(at.z.shape[1])
    return np.asarray(np.linalg.solve(damped, at.gradient[:, :, None])[:, :, 0])


def _where(condition: NDArray[np.bool_], new: FloatArray, old: FloatArray) -> FloatArray:
    """Choose rows (N, ...) from one of two arrays by a condition (N,)."""
    return np.asarray(np.where(condition.reshape(-1, *[1] * (new.ndim - 1)), new, old))
