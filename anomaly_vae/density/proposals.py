r"""A proposal fitted to the row: a mixture of Gaussians around modes of p(z|x). Pure functions.

On anomalies the encoder's q(z|x) is often wrong, and a few samples then carry most of the importance weight. The fitted
proposal has up to two modes of p(z|x), each at two widths, and the encoder's widened q(z|x) as a defence against modes
that the search missed.

Axes: N rows, L latent dimensions, S samples.

References:
    Laplace importance sampling: Kuk (1999); defensive mixtures: Hesterberg (1995); deterministic-mixture weights:
    Owen & Zhou, Safe and effective importance sampling (2000)
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import LOG_2PI, FloatArray
from anomaly_vae.density.modes import Modes, multiply_stacks

__all__ = [
    "NUM_COMPONENTS",
    "Mixture",
    "allocate",
    "component_log_probs",
    "draw",
    "fit_mixture",
    "mixture_log_prob",
]

IntArray = NDArray[np.int64]

# Widths of the components around a mode, in standard deviations of its Laplace approximation. Chosen by errors on four
# ADBench tables, among 1.1 to 1.4 and 1.6 to 2.2. tests/benchmarks/accuracy.py measures errors against their cost.
_MAIN_WIDTH, _WIDE_WIDTH = 1.1, 1.6

# Width of the encoder's component, in standard deviations of q(z|x). Chosen, not measured: wider covers more errors of
# the encoder with fewer samples at each place.
_ENCODER_WIDTH = 1.5

# One point in 8 goes to the encoder's component (rounded up), one in 4 to the wide components. Chosen, not measured:
# these components bound the weights, at the cost of samples near the modes.
_ENCODER_ONE_IN, _WIDE_ONE_IN = 8, 4

# Distance from the first mode, in its posterior standard deviations, from which another mode counts as a second one.
# Chosen, not measured: nearer modes are covered by the first one's components.
_DISTINCT = 0.5

# Nats of evidence by which a second mode may be below the first: its share of p(x) is 3e-4 or more. Chosen, not
# measured: a larger value spends samples on modes that hardly count.
_NEGLIGIBLE_NATS = 8.0


class Mixture(NamedTuple):
    """A proposal per row: two modes, each at two widths, and the widened encoder.

    Attributes:
        first, second: The modes, the one with more evidence first. With a single mode, the second has no share.
        loc, scale: The encoder's proposal, shape (N, L).
        share: Share of the second mode in the two, at most a half, 0 with a single mode, shape (N,).
    """

    first: Modes
    second: Modes
    loc: FloatArray
    scale: FloatArray
    share: FloatArray

    def take(self, chosen: NDArray[np.intp] | NDArray[np.bool_]) -> Mixture:
        """Return the proposals of some rows."""
        first, second = (Modes(*(values[chosen] for values in mode)) for mode in (self.first, self.second))
        return Mixture(first, second, self.loc[chosen], self.scale[chosen], self.share[chosen])


# The components, in the order of every array with an axis for them.
NUM_COMPONENTS = 5
_FIRST_MAIN, _SECOND_MAIN, _FIRST_WIDE, _SECOND_WIDE, _ENCODER = range(NUM_COMPONENTS)


def fit_mixture(modes: Modes, loc: FloatArray, scale: FloatArray) -> Mixture:
    """Build proposals from the modes with the most evidence, up to two, and from the encoder's proposal.

    Args:
        modes: M modes of each row, (M, N, ...).
        loc, scale: The encoder's, shape (N, L).
    """
    first = modes.pick(modes.log_evidence.argmax(axis=0))
    offset = np.ascontiguousarray(np.swapaxes(modes.loc - first.loc, 0, 1))
    squared_distance = np.square(multiply_stacks(first.inverse_root, offset)).sum(axis=-1).T
    gap = np.where(squared_distance > _DISTINCT**2, first.log_evidence - modes.log_evidence, np.inf)
    smallest = np.minimum(gap.min(axis=0), _NEGLIGIBLE_NATS)
    share = np.where(smallest < _NEGLIGIBLE_NATS, 1.0 / (1.0 + np.exp(smallest)), 0.0)
    return Mixture(first, modes.pick(gap.argmin(axis=0)), loc, scale, share)


def allocate(mixture: Mixture, num_points: int) -> IntArray:
    """Return how many of n points of a scrambling each component gets, shape (N, 5).

    A component takes consecutive points. Consecutive points of a Sobol sequence are evenly spread, every fourth or
    eighth point may not be.
    """
    encoder = -(-num_points // _ENCODER_ONE_IN)
    wide = num_points // _WIDE_ONE_IN
    main = num_points - encoder - wide
    has_second = mixture.share > 0.0
    second = [np.where(has_second, np.clip(np.rint(mixture.share * n), 1, n // 2), 0) for n in (main, wide)]
    counts = [main - second[0], second[0], wide - second[1], second[1], np.full(len(has_second), encoder)]
    return np.stack(counts, axis=1).astype(np.int64)


def draw(mixture: Mixture, points: FloatArray, counts: IntArray) -> FloatArray:
    """Return samples of the proposals, (N, R, n, L).

    Args:
        mixture: The proposals.
        points: Standard normal, shape (R, n, L).
        counts: From :func:`allocate`, shape (N, 5).
    """
    scramblings, num_points, latent_dim = points.shape
    component = (np.arange(num_points)[None, :, None] >= np.cumsum(counts, axis=1)[:, None, :]).sum(axis=-1)
    component = component[:, None, :, None]
    flat = points.reshape(1, -1, latent_dim)
    shape = (len(mixture.loc), scramblings, num_points, latent_dim)
    width = np.where((component == _FIRST_WIDE) | (component == _SECOND_WIDE), _WIDE_WIDTH, _MAIN_WIDTH)
    by_mode = [
        mode.loc[:, None, None, :] + width * multiply_stacks(mode.root, flat).reshape(shape)
        for mode in (mixture.first, mixture.second)
    ]
    defence = mixture.loc[:, None, None, :] + _ENCODER_WIDTH * mixture.scale[:, None, None, :] * points
    second = (component == _SECOND_WIDE) | (component == _SECOND_MAIN)
    return np.asarray(np.where(component == _ENCODER, defence, np.where(second, by_mode[1], by_mode[0])))


def component_log_probs(mixture: Mixture, z: FloatArray) -> FloatArray:
    """Return the log-density of every component at samples z (N, S, L), nats, shape (N, 5, S)."""
    latent_dim = z.shape[-1]
    out = np.empty((len(z), NUM_COMPONENTS, z.shape[1]))
    scale = _ENCODER_WIDTH * mixture.scale
    whitened = (z - mixture.loc[:, None, :]) / scale[:, None, :]
    out[:, _ENCODER] = -0.5 * np.square(whitened).sum(axis=-1) - np.log(scale).sum(axis=-1)[:, None]
    modes = ((mixture.first, _FIRST_MAIN, _FIRST_WIDE), (mixture.second, _SECOND_MAIN, _SECOND_WIDE))
    for mode, main, wide in modes:
        squares = np.square(multiply_stacks(mode.inverse_root, z - mode.loc[:, None, :])).sum(axis=-1)
        for component, width in ((main, _MAIN_WIDTH), (wide, _WIDE_WIDTH)):
            out[:, component] = -0.5 * squares / width**2 - (mode.log_scale[:, None] + latent_dim * math.log(width))
    return np.asarray(out - 0.5 * latent_dim * LOG_2PI)


def mixture_log_prob(log_probs: FloatArray, counts: IntArray) -> FloatArray:
    """Return the log-density of the mixture, nats, shape (N, S).

    Args:
        log_probs: From :func:`component_log_probs`, shape (N, C, S).
        counts: Samples of each component, shape (N, C).
    """
    with np.errstate(divide="ignore"):  # log 0 for a component without samples
        shares = np.log(counts / counts.sum(axis=-1, keepdims=True))
    terms = log_probs + shares[:, :, None]
    top = terms.max(axis=1)
    total = np.zeros_like(top)
    for component in range(terms.shape[1]):  # reductions over inner axes change their bits with N
        total += np.exp(terms[:, component] - top)
    return np.asarray(top + np.log(total))
