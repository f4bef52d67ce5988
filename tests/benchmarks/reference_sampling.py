"""Importance sampling of log p(x) from a mixture, for the references of the benchmarks. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, logsumexp

__all__ = ["Component", "LogJoint", "draw", "importance_log_prob", "log_weights", "mixture_log_prob"]

# log p(x, z) of one row at samples z, nats, (S, L) -> (S,).
LogJoint = Callable[[np.ndarray], np.ndarray]

# A reference draws rounds of 32,768 samples until its standard error is at most 0.005 nats, 8 rounds at most. Chosen:
# the error is then small against those measured.
ROUND_SAMPLES, MAX_ROUNDS, SMALL_ERROR = 32_768, 8, 0.005


class Component(NamedTuple):
    """A component of a proposal: Student's t, or a Gaussian with infinite degrees of freedom.

    Attributes:
        loc: Shape (L,).
        root: The scale matrix is root rootᵀ, shape (L, L).
        share: Share of the samples.
        freedom: Degrees of freedom.
    """

    loc: np.ndarray
    root: np.ndarray
    share: float
    freedom: float = math.inf

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw samples, shape (S, L)."""
        noise = rng.normal(size=(count, len(self.loc)))
        if math.isfinite(self.freedom):
            noise /= np.sqrt(rng.chisquare(self.freedom, (count, 1)) / self.freedom)
        return self.loc + noise @ self.root.T

    def log_prob(self, z: np.ndarray) -> np.ndarray:
        """Return log-densities, nats, (S, L) -> (S,)."""
        squares = np.square((z - self.loc) @ np.linalg.inv(self.root).T).sum(axis=-1)
        latent_dim, log_scale = len(self.loc), np.linalg.slogdet(self.root)[1]
        if math.isinf(self.freedom):
            return -0.5 * (latent_dim * math.log(2.0 * math.pi) + squares) - log_scale
        half = 0.5 * (self.freedom + latent_dim)
        constant = gammaln(half) - gammaln(0.5 * self.freedom) - 0.5 * latent_dim * math.log(self.freedom * math.pi)
        return constant - log_scale - half * np.log1p(squares / self.freedom)


def importance_log_prob(
    log_joint: LogJoint, components: Sequence[Component], rng: np.random.Generator
) -> tuple[float, float]:
    """Return log p(x) and its standard error, nats; the error is infinite where all weights are zero."""
    weights = np.empty(0)
    for _ in range(MAX_ROUNDS):
        z = draw(components, ROUND_SAMPLES, rng)
        weights = np.concatenate([weights, log_weights(log_joint, components, z)])
        if not np.isfinite(weights.max()):
            return -math.inf, math.inf
        relative = np.exp(weights - weights.max())
        error = relative.std() / relative.mean() / math.sqrt(len(weights))
        if error <= SMALL_ERROR:
            break
    return float(weights.max() + np.log(relative.mean())), float(error)


def draw(components: Sequence[Component], count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw samples from a mixture, a fixed number from each component; all are numbers of float32, as the decoder's."""
    parts = [c.draw(n, rng) for c, n in zip(components, _counts(components, count), strict=True)]
    return np.concatenate(parts).astype(np.float32).astype(np.float64)


def log_weights(log_joint: LogJoint, components: Sequence[Component], z: np.ndarray) -> np.ndarray:
    """Return log p(x, z) - log q(z) of samples that :func:`draw` drew from the mixture q, nats, (S, L) -> (S,)."""
    return log_joint(z) - mixture_log_prob(components, z)


def mixture_log_prob(components: Sequence[Component], z: np.ndarray) -> np.ndarray:
    """Return log-densities of a mixture, nats, (S, L) -> (S,); its shares are the counts that were drawn."""
    counts = _counts(components, len(z))
    log_probs = np.stack([c.log_prob(z) for c in components])
    return logsumexp(log_probs + np.log(counts / counts.sum())[:, None], axis=0)


def _counts(components: Sequence[Component], count: int) -> np.ndarray:
    """Return how many samples each component gets: at least 1, and ``count`` in all."""
    counts = np.array([max(round(c.share * count), 1) for c in components])
    counts[counts.argmax()] += count - counts.sum()
    return counts
