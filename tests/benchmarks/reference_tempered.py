"""A proposal from particles that move from the prior to p(z|x) in small steps. Pure functions of one row's p(x, z).

The density p(z) p(x|z)^b is sampled for b from 0 to 1. In each step b grows, the particles are resampled, and some
Markov moves spread them again. No gradient and no start is used, so this finds modes in another way than
:mod:`tests.benchmarks.reference_modes`. A mixture of Student's t distributions is fitted to the last particles.

References:
    Sequential Monte Carlo Samplers (Del Moral, Doucet & Jasra, 2006); A Markov Chain Monte Carlo version of the genetic
    algorithm Differential Evolution (ter Braak, 2006)
"""

from __future__ import annotations

import warnings

import numpy as np
from scipy.special import logsumexp
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from tests.benchmarks.reference_sampling import Component, LogJoint, draw, log_weights

__all__ = ["tempered_components"]

# Particles, effective share of them that a step of b keeps, moves a step, and most steps. Chosen, not measured: more of
# each miss fewer modes and cost more.
PARTICLES, KEPT_SHARE, MOVES, MAX_STEPS = 1024, 0.4, 4, 150

# Moves use differences of two particles, times 2.38 / sqrt(2 L) (ter Braak, 2006) and a random factor between 0.03 and
# 1, on a logarithmic scale, so that some moves are accepted whatever the shape of the density.
SMALLEST_MOVE = 0.03

# Components of the mixture, their degrees of freedom, and their widths in standard deviations. Chosen, not measured:
# heavy tails and widths above 1 bound the weights, at the cost of samples near the modes.
COMPONENTS, FREEDOM, WIDTH = 6, 8.0, 1.1

# Share of the prior in the mixture: a defence against modes that all particles have left.
PRIOR_SHARE = 0.1

# Samples from each mixture but the last, and most mixtures before it. The samples are resampled by their weights, and
# the next mixture is fitted to them. Chosen, not measured: they trade the error of the last mixture against cost.
PILOT_SAMPLES, PILOTS = 8192, 5


def tempered_components(log_joint: LogJoint, latent_dim: int, rng: np.random.Generator) -> list[Component]:
    """Return a heavy-tailed mixture fitted to samples of p(z|x), with the prior as one component.

    Args:
        log_joint: log p(x, z) of the row.
        latent_dim: L.
        rng: Moves the particles and draws samples.
    """
    components = _fit(_particles(log_joint, latent_dim, rng), rng)
    for _ in range(PILOTS):
        z = draw(components, PILOT_SAMPLES, rng)
        weights = log_weights(log_joint, components, z)
        # Few samples would carry the weight of a poor mixture, and a fit to them would collapse. A power below 1 evens
        # the weights out.
        power = _increase(weights, 1.0)
        weights = power * weights
        components = _fit(z[_resample(np.exp(weights - logsumexp(weights)), 2 * PARTICLES, rng)], rng)
        if power == 1.0:
            break
    return components


def _particles(log_joint: LogJoint, latent_dim: int, rng: np.random.Generator) -> np.ndarray:
    """Return particles of p(z|x), shape (S, L)."""
    z = rng.normal(size=(PARTICLES, latent_dim))
    log_likelihood = log_joint(z) - _log_prior(z)
    b = 0.0
    for step in range(MAX_STEPS):
        up = 1.0 - b if step == MAX_STEPS - 1 else _increase(log_likelihood, 1.0 - b)
        weights = up * log_likelihood
        chosen = _resample(np.exp(weights - logsumexp(weights)), PARTICLES, rng)
        # The order is shuffled, because moves pair the two halves.
        chosen, b = rng.permutation(chosen), b + up
        z, log_likelihood = z[chosen], log_likelihood[chosen]
        for _ in range(MOVES):
            z, log_likelihood = _move(log_joint, z, log_likelihood, b, rng)
        if b >= 1.0:
            break
    return z


def _increase(log_likelihood: np.ndarray, most: float) -> float:
    """Return the largest increase of b, up to ``most``, that keeps the effective share of the particles."""

    def effective_share(up: float) -> float:
        weights = up * log_likelihood
        return float(np.exp(2.0 * logsumexp(weights) - logsumexp(2.0 * weights))) / len(weights)

    if effective_share(most) >= KEPT_SHARE:
        return most
    low, high = 0.0, most
    for _ in range(50):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if effective_share(middle) >= KEPT_SHARE else (low, middle)
    return max(low, 1e-12 * most)


def _move(
    log_joint: LogJoint, z: np.ndarray, log_likelihood: np.ndarray, b: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Move one half of the particles by differences within the other half, then the other way round (Metropolis)."""
    half, latent_dim = len(z) // 2, z.shape[1]
    z, log_likelihood = z.copy(), log_likelihood.copy()
    for moved, other in ((slice(0, half), slice(half, None)), (slice(half, None), slice(0, half))):
        now, pairs = z[moved], rng.integers(half, size=(2, half))
        factor = 2.38 / np.sqrt(2 * latent_dim) * SMALLEST_MOVE ** rng.random((half, 1))
        new = now + factor * (z[other][pairs[0]] - z[other][pairs[1]]) + 1e-6 * rng.normal(size=now.shape)
        log_prior = _log_prior(new)
        new_likelihood = log_joint(new) - log_prior
        gain = log_prior - _log_prior(now) + b * (new_likelihood - log_likelihood[moved])
        accepted = np.log(rng.random(half)) < gain
        z[moved] = np.where(accepted[:, None], new, now)
        log_likelihood[moved] = np.where(accepted, new_likelihood, log_likelihood[moved])
    return z, log_likelihood


def _fit(particles: np.ndarray, rng: np.random.Generator) -> list[Component]:
    """Fit Student's t components to particles (S, L), and add the prior."""
    latent_dim = particles.shape[1]
    centre, scale = particles.mean(axis=0), particles.std(axis=0) + 1e-9
    count = min(COMPONENTS, max(len(particles) // (4 * latent_dim), 1), len(np.unique(particles, axis=0)))
    seed = int(rng.integers(2**31))
    model = GaussianMixture(count, reg_covar=1e-4, max_iter=50, init_params="k-means++", random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the mixture need not be the best one
        model.fit((particles - centre) / scale)
    fitted = [
        Component(
            loc=centre + scale * mean,
            root=WIDTH * scale[:, None] * np.linalg.cholesky(covariance),
            share=(1.0 - PRIOR_SHARE) * float(share),
            freedom=FREEDOM,
        )
        for mean, covariance, share in zip(model.means_, model.covariances_, model.weights_, strict=True)
    ]
    return [*fitted, Component(np.zeros(latent_dim), np.eye(latent_dim), PRIOR_SHARE)]


def _resample(share: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return systematically resampled indices, shape (count,)."""
    places = (np.arange(count) + rng.random()) / count
    return np.minimum(np.searchsorted(np.cumsum(share), places), len(share) - 1)


def _log_prior(z: np.ndarray) -> np.ndarray:
    return -0.5 * (np.log(2.0 * np.pi) + z**2).sum(axis=-1)
