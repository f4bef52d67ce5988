r"""The prior p(z) of a model: its record in the manifest, its density and its points in numpy.

.. math:: p(z) = \sum_c \pi_c \prod_l N(z_l; \mu_{cl}, \sigma_{cl}^2)

One Gaussian cannot hold several clusters without density between them; a mixture whose parameters are learned can.

References:
    VAE with a VampPrior (Tomczak & Welling, 2018), which compares learned priors, https://arxiv.org/abs/1705.07120
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated

import numpy as np
from msgspec import Meta

from anomaly_vae.arrays import LOG_2PI, FloatArray, standard_normal_log_prob
from anomaly_vae.record import Record

__all__ = ["MAX_LOG_SCALE", "MIN_LOG_SCALE", "NORMAL", "MixturePrior", "NormalPrior", "Prior"]

# Limits of the logarithm of a component's standard deviation, from 0.1 to 7.4. The graphs expand its square in z, and
# narrower components would lose digits in float32. Chosen, not measured.
MIN_LOG_SCALE, MAX_LOG_SCALE = -2.3, 2.0

# Most components and largest coordinate of a mean. Chosen, not measured: far more than training uses.
_MAX_COMPONENTS, _MAX_LOC = 256, 1e4

# Coordinates of distances between points and components that are computed at once: 16 MB. Chosen, not measured.
_NUMBERS_PER_PASS = 2**21

# Largest error of the sum of the shares. Chosen, not measured: far above rounding, far below any effect.
_SUM_ERROR = 1e-4

_Weights = Annotated[
    tuple[Annotated[float, Meta(ge=-100.0, le=0.0)], ...], Meta(min_length=1, max_length=_MAX_COMPONENTS)
]
_Locs = Annotated[tuple[Annotated[float, Meta(ge=-_MAX_LOC, le=_MAX_LOC)], ...], Meta(min_length=1, max_length=1024)]
_LogScales = Annotated[
    tuple[Annotated[float, Meta(ge=MIN_LOG_SCALE, le=MAX_LOG_SCALE)], ...], Meta(min_length=1, max_length=1024)
]


class NormalPrior(Record, tag_field="kind", tag="normal"):
    """N(0, I)."""

    def fits(self, latent_dim: int) -> bool:
        """Return whether this is a prior of L dimensions."""
        return latent_dim > 0

    def log_prob(self, z: FloatArray) -> FloatArray:
        """Return the log-density, nats, (N, L) -> (N,)."""
        return standard_normal_log_prob(z)

    def spread(self, points: FloatArray) -> FloatArray:
        """Turn standard normal points, evenly spread, into points of the prior, (N, L) -> (N, L)."""
        return points

    def draw(self, n: int, latent_dim: int, rng: np.random.Generator) -> FloatArray:
        """Draw n values, shape (n, L)."""
        return rng.standard_normal((n, latent_dim))


class MixturePrior(Record, tag_field="kind", tag="mixture", dict=True):
    """A mixture of C Gaussians with diagonal covariances.

    Attributes:
        log_weights: Logarithms of the shares, which sum to 1; one per component.
        loc: Means, C times L.
        log_scale: Logarithms of the standard deviations, C times L.
    """

    log_weights: _Weights
    loc: tuple[_Locs, ...]
    log_scale: tuple[_LogScales, ...]

    def fits(self, latent_dim: int) -> bool:
        """Return whether this is a prior of L dimensions: sizes agree, and the shares sum to 1."""
        count = len(self.log_weights)
        sizes = {len(values) for values in (*self.loc, *self.log_scale)}
        whole = abs(float(np.exp(self.log_weights).sum()) - 1.0) < _SUM_ERROR
        return whole and len(self.loc) == len(self.log_scale) == count and sizes == {latent_dim}

    def log_prob(self, z: FloatArray) -> FloatArray:
        """See :class:`NormalPrior`."""
        step = max(1, _NUMBERS_PER_PASS // (len(self.loc) * len(self.loc[0])))
        parts = [self._log_prob(z[i : i + step]) for i in range(0, len(z), step)]
        return np.concatenate([np.empty(0), *parts])

    def spread(self, points: FloatArray) -> FloatArray:
        """See :class:`NormalPrior`; every component gets points of the whole list, by its share."""
        weights, loc, scale = self._arrays
        # The golden ratio's multiples are evenly spread for every number of points.
        level = (np.arange(len(points)) * (np.sqrt(5.0) - 1.0) / 2.0) % 1.0
        component = np.minimum(np.searchsorted(np.cumsum(weights), level), len(weights) - 1)
        return np.asarray(loc[component] + scale[component] * points)

    def draw(self, n: int, latent_dim: int, rng: np.random.Generator) -> FloatArray:
        """See :class:`NormalPrior`."""
        weights, loc, scale = self._arrays
        component = rng.choice(len(weights), size=n, p=weights / weights.sum())
        return np.asarray(loc[component] + scale[component] * rng.standard_normal((n, latent_dim)))

    def _log_prob(self, z: FloatArray) -> FloatArray:
        _, loc, scale = self._arrays
        squares = np.square((z[:, None] - loc) / scale).sum(axis=-1)
        terms = np.asarray(self.log_weights) - np.log(scale).sum(axis=-1) - 0.5 * (loc.shape[1] * LOG_2PI + squares)
        top = terms.max(axis=-1)
        return np.asarray(top + np.log(np.exp(terms - top[:, None]).sum(axis=-1)))

    @cached_property
    def _arrays(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Shares (C,), means and standard deviations (C, L)."""
        return np.exp(self.log_weights), np.array(self.loc), np.exp(np.array(self.log_scale))


Prior = NormalPrior | MixturePrior

NORMAL = NormalPrior()
