"""A proposal around modes of p(z|x), found by Gauss-Newton from many starts. Pure functions of one row's p(x, z)."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from scipy.special import softmax

from tests.benchmarks.reference_sampling import Component

__all__ = ["Curved", "Expansion", "Modes", "find_modes", "mode_components"]

# Starts of each kind: the best of many prior points, and random ones. Gauss-Newton steps, and most modes kept. Chosen
# larger than in the product, so that the reference misses fewer modes.
STARTS, STEPS, MAX_MODES = 12, 40, 6

# Mean squared distance per latent dimension, in units of the prior's variance, below which two prior points count as
# the same start, and the width of the random starts. Chosen, not measured: both trade modes missed against steps.
SAME_START, START_WIDTH = 0.15, 1.3

# Modes are distinct from this distance on, in posterior standard deviations, and kept within this evidence, in nats, of
# the best one.
DISTINCT, NEGLIGIBLE = 0.5, 12.0

# Widths of the components at a mode in posterior standard deviations, with their shares of the samples; the rest goes
# to the prior, which bounds the weights.
WIDTHS = ((1.15, 0.6), (2.0, 0.3))

# Levenberg-Marquardt damping, as a share of the diagonal: factors after a step that climbs and one that does not, the
# least value after a failed step, and the value below which it is 0. Chosen, not measured: they trade the speed near a
# mode against the number of undone steps.
DAMPING_DECREASE, DAMPING_INCREASE, MIN_FAILED_DAMPING, MIN_DAMPING = 0.2, 8.0, 0.3, 1e-3

# Added to the diagonal of a curvature, as a share of its largest entry: more than rounding, too little to matter.
RIDGE = 1e-11


class Expansion(NamedTuple):
    """log p(x, z) with gradient and negative Hessian, at S points: (S,), (S, L), (S, L, L)."""

    log_joint: np.ndarray
    gradient: np.ndarray
    hessian: np.ndarray


class Curved(Protocol):
    """p(x, z) of one row as a function of z."""

    def expand(self, z: np.ndarray) -> Expansion:
        """Expand log p(x, z) at points (S, L)."""
        ...


class Modes(NamedTuple):
    """Laplace approximations N(loc, root rootᵀ) of p(z|x) at the end of S climbs: (S, L), (S, L, L), (S,) in nats."""

    loc: np.ndarray
    root: np.ndarray
    log_evidence: np.ndarray


def find_modes(target: Curved, start: np.ndarray) -> Modes:
    """Climb from each start (S, L) by damped Gauss-Newton steps; a step that does not climb is undone."""
    z, latent_dim = start, start.shape[1]
    at = target.expand(z)
    damping = np.zeros(len(z))
    for _ in range(STEPS):
        diagonal = np.einsum("sii->si", at.hessian)
        damped = at.hessian + np.einsum("s,si,ij->sij", damping, diagonal, np.eye(latent_dim))
        moved = z + np.linalg.solve(damped, at.gradient[:, :, None])[:, :, 0]
        to = target.expand(moved)
        better = to.log_joint > at.log_joint  # False for NaN
        z = np.where(better[:, None], moved, z)
        chosen = [
            np.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old) for new, old in zip(to, at, strict=True)
        ]
        at = Expansion(*chosen)
        increased = np.maximum(damping * DAMPING_INCREASE, MIN_FAILED_DAMPING)
        damping = np.where(better, damping * DAMPING_DECREASE, increased)
        damping = np.where(damping < MIN_DAMPING, 0.0, damping)
    largest = np.einsum("sii->si", at.hessian).max(axis=1)
    lower = np.linalg.cholesky(at.hessian + RIDGE * largest[:, None, None] * np.eye(latent_dim))
    root = np.linalg.inv(np.swapaxes(lower, 1, 2))
    log_scale = -np.log(np.einsum("sii->si", lower)).sum(axis=1)
    return Modes(z, root, at.log_joint + 0.5 * latent_dim * np.log(2.0 * np.pi) + log_scale)


def mode_components(
    target: Curved, prior_points: np.ndarray, log_joint: np.ndarray, rng: np.random.Generator
) -> list[Component]:
    """Return Gaussian components at two widths around every mode, and the prior.

    Args:
        target: p(x, z) of the row.
        prior_points: Points spread over the prior, shape (S, L).
        log_joint: Their log p(x, z), nats, shape (S,).
        rng: Draws the random starts.
    """
    latent_dim = prior_points.shape[1]
    centre, scale = prior_points.mean(axis=0), prior_points.std(axis=0)
    random = centre + START_WIDTH * scale * rng.normal(size=(STARTS, latent_dim))
    modes = find_modes(target, np.concatenate([best_points(prior_points, log_joint), random, centre[None]]))
    kept: list[int] = []
    for k in np.argsort(-modes.log_evidence):
        apart = [np.linalg.norm(np.linalg.solve(modes.root[j], modes.loc[k] - modes.loc[j])) > DISTINCT for j in kept]
        if all(apart) and modes.log_evidence.max() - modes.log_evidence[k] < NEGLIGIBLE and len(kept) < MAX_MODES:
            kept.append(int(k))
    shares = 0.8 * softmax(modes.log_evidence[kept]) + 0.2 / len(kept)
    around = [
        Component(modes.loc[k], width * modes.root[k], part * share)
        for k, share in zip(kept, shares, strict=True)
        for width, part in WIDTHS
    ]
    return [*around, Component(centre, np.diag(scale), 1.0 - sum(part for _, part in WIDTHS))]


def best_points(points: np.ndarray, log_joint: np.ndarray) -> np.ndarray:
    """Return the points with the largest p(x, z) that are far from each other, best first, shape (STARTS, L)."""
    log_joint, chosen = log_joint.copy(), []
    for _ in range(STARTS):
        best = points[log_joint.argmax()]
        chosen.append(best)
        log_joint[np.square(points - best).mean(axis=1) < SAME_START] = -np.inf
    return np.stack(chosen)
