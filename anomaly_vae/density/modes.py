r"""Find modes of p(z|x) by Newton's method, and the Laplace approximation at each.

Axes: N rows or starting points, L latent dimensions. Derivatives come from the posterior graph, for many rows a call;
numpy does the L x L algebra.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import LOG_2PI, FloatArray
from anomaly_vae.density import tiles
from anomaly_vae.density.matrices import cholesky, where_rows
from anomaly_vae.density.network import Float32Array, Network

__all__ = ["Modes", "find_modes", "posterior_cost"]

# Largest absolute coordinate of z. Chosen, not measured: at 1e6 float32 resolves 0.06, too coarse for the decoder.
_MAX_Z = 1e6

# Least pivot of a usable exact curvature, in units of the prior's curvature. Chosen, not measured: below it the
# approximation is over three times as wide as the prior in some direction, and a step would be as long.
_LEAST_PIVOT = 0.1

# Nats that the next step would gain by the quadratic approximation. With less, the search takes the step without
# looking at its end, and stops: where the exact curvature is in use, it is then within about 0.8 standard deviations of
# the mode. In a flat tail, where it is not, a search may end up to 3 away. Chosen, not measured: a smaller value costs
# one more evaluation in most searches.
_LAST_GAIN = 0.3

# Levenberg-Marquardt damping, as a share of the diagonal: its factors after a step that climbs and one that does not,
# its least value after a failed step, and the value below which it is set to 0. Chosen, not measured: they trade the
# speed near a mode against the number of undone steps.
_DAMPING_DECREASE, _DAMPING_INCREASE = 0.2, 8.0
_MIN_FAILED_DAMPING, _MIN_DAMPING = 0.3, 1e-3

# Largest absolute curvature. Above it the identity replaces the matrix. Chosen, not measured: float32 ends at 3e38.
_MAX_CURVATURE = 1e30


class Modes(NamedTuple):
    """A Gaussian approximation N(loc, root rootᵀ) of p(z|x) around a mode, for each row.

    Attributes:
        loc: The mode, shape (N, L).
        root, inverse_root: An upper triangular root of the covariance and its inverse, shape (N, L, L).
        log_scale: Logarithm of the determinant of root, shape (N,).
        log_joint: log p(x, z) at the mode, nats, shape (N,).
        log_evidence: The approximation's estimate of log p(x), nats, shape (N,).
    """

    loc: FloatArray
    root: FloatArray
    inverse_root: FloatArray
    log_scale: FloatArray
    log_joint: FloatArray
    log_evidence: FloatArray

    def take(self, chosen: NDArray[np.intp] | NDArray[np.bool_]) -> Modes:
        """Return those of some rows."""
        return Modes(*(values[chosen] for values in self))


class _Point(NamedTuple):
    """log p(x, z), its gradient and the curvature in use at one z per row.

    ``lower`` is the curvature's Cholesky factor, and ``inverse`` the inverse of that.
    """

    z: FloatArray
    log_joint: FloatArray
    gradient: FloatArray
    curvature: FloatArray
    lower: FloatArray
    inverse: FloatArray

    def take(self, chosen: NDArray[np.intp] | NDArray[np.bool_]) -> _Point:
        return _Point(*(values[chosen] for values in self))

    def put(self, where: NDArray[np.intp], new: _Point) -> None:
        for values, each in zip(self, new, strict=True):
            values[where] = each


def posterior_cost(latent_dim: int) -> int:
    """Return the cost of the posterior graph in decoder evaluations: one, L tangents, and the derivatives back."""
    return latent_dim + 2


def find_modes(
    network: Network, x: Float32Array, mask: Float32Array, start: FloatArray, steps: int
) -> tuple[Modes, NDArray[np.int64]]:
    """Climb from each start to a mode of p(z|x) by damped Newton steps (Levenberg-Marquardt).

    The exact curvature is used where it is positive definite, a Gauss-Newton matrix elsewhere. A step that does not
    increase log p(x, z) is undone. A search ends when the next step would gain little.

    Args:
        network: The model.
        x, mask: Rows in model units and which of their cells are present, one per start, shape (N, F).
        start: Shape (N, L).
        steps: Most steps.

    Returns:
        The modes, and the evaluations of the posterior graph that each took, shape (N,).

    References:
        Marquardt, An Algorithm for Least-Squares Estimation of Nonlinear Parameters (1963)
    """
    at = _evaluate(network, x, mask, start)
    damping, evaluations = np.zeros(len(x)), np.ones(len(x), dtype=np.int64)
    active = np.arange(len(x))
    for _ in range(steps):
        now = at if len(active) == len(at.z) else at.take(active)
        step = _newton_step(now, damping[active])
        moves = 0.5 * (step * now.gradient).sum(axis=-1) > _LAST_GAIN  # False for NaN
        if not moves.any():
            break
        if not moves.all():
            active, now, step = active[moves], now.take(moves), step[moves]
        to = _evaluate(network, x[active], mask[active], now.z + step)
        evaluations[active] += 1
        better = to.log_joint > now.log_joint  # False for NaN
        at.put(active[better], to if better.all() else to.take(better))
        old = damping[active]
        new = np.where(better, old * _DAMPING_DECREASE, np.maximum(old * _DAMPING_INCREASE, _MIN_FAILED_DAMPING))
        damping[active] = np.where(new < _MIN_DAMPING, 0.0, new)
    return _laplace(_last_step(at)), evaluations


def _evaluate(network: Network, x: Float32Array, mask: Float32Array, z: FloatArray) -> _Point:
    z32 = np.clip(z, -_MAX_Z, _MAX_Z).astype(np.float32)
    found = tiles.posterior(network, x, mask, z32)
    latent_dim = z.shape[1]
    curvature = _finite(found.curvature.astype(np.float64), latent_dim)
    lower, exists = cholesky(curvature, _LEAST_PIVOT)
    if not exists.all():
        missing = ~exists
        curvature[missing] = _finite(found.information[missing].astype(np.float64), latent_dim)
        lower[missing] = cholesky(curvature[missing], 0.0)[0]
    gradient = found.gradient.astype(np.float64)
    finite = np.isfinite(gradient).all(axis=1)
    if not finite.all():
        gradient[~finite] = 0.0
    return _Point(
        z=z32.astype(np.float64),
        log_joint=found.log_joint[:, 0].astype(np.float64),
        gradient=gradient,
        curvature=curvature,
        lower=lower,
        inverse=np.asarray(np.linalg.inv(lower)),
    )


def _finite(matrices: FloatArray, latent_dim: int) -> FloatArray:
    """Replace matrices with very large or NaN entries by the identity."""
    usable = np.asarray((np.abs(matrices) < _MAX_CURVATURE).all(axis=(1, 2)))
    if usable.all():
        return matrices
    return where_rows(usable, matrices, np.broadcast_to(np.eye(latent_dim), matrices.shape))


def _last_step(at: _Point) -> _Point:
    """Take the last step of the searches that are near a mode."""
    step = _newton_step(at, np.zeros(len(at.z)))
    gain = 0.5 * (step * at.gradient).sum(axis=-1)
    near = np.asarray((gain > 0.0) & (gain <= _LAST_GAIN))  # False for NaN
    z = where_rows(near, at.z + step, at.z)
    return at._replace(z=z, log_joint=np.where(near, at.log_joint + gain, at.log_joint))


def _newton_step(at: _Point, damping: FloatArray) -> FloatArray:
    step = np.matmul(np.swapaxes(at.inverse, 1, 2), np.matmul(at.inverse, at.gradient[:, :, None]))
    damped = np.flatnonzero(damping)
    if len(damped):
        curvature = at.curvature[damped]
        diagonal = np.diagonal(curvature, axis1=1, axis2=2)
        curvature += damping[damped, None, None] * diagonal[:, None, :] * np.eye(at.z.shape[1])
        step[damped] = np.linalg.solve(curvature, at.gradient[damped, :, None])
    return np.asarray(step[:, :, 0])


def _laplace(at: _Point) -> Modes:
    log_scale = -np.log(np.ascontiguousarray(np.diagonal(at.lower, axis1=1, axis2=2))).sum(axis=-1)
    inverse_root = np.ascontiguousarray(np.swapaxes(at.lower, 1, 2))
    return Modes(
        loc=at.z,
        root=np.ascontiguousarray(np.swapaxes(at.inverse, 1, 2)),
        inverse_root=inverse_root,
        log_scale=log_scale,
        log_joint=at.log_joint,
        log_evidence=at.log_joint + 0.5 * at.z.shape[1] * LOG_2PI + log_scale,
    )
