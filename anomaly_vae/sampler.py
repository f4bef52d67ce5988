r"""Importance samples of a few rows, in rounds that extend what is there: from the encoder's proposal or a fitted one.

A sampler holds the log-weights drawn so far, (N, R, n) for N rows, R scramblings and n points of each. Drawing up to
more points evaluates only the new ones. A fitted proposal's components share the points of each round anew.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from anomaly_vae import tiles
from anomaly_vae.densities import LOG_2PI, FloatArray
from anomaly_vae.proposals import Mixture, allocate, component_log_probs, draw, mixture_log_prob
from anomaly_vae.runtime import Float32Array, Network

__all__ = ["EncoderSampler", "Mask", "MixtureSampler", "Noise", "Rows", "Sampler"]

Mask = NDArray[np.bool_]


class Noise:
    """The bundle's standard normal points, (R, n, L), and what is the same for every row."""

    def __init__(self, values: NDArray[np.float32]) -> None:
        """Keep the points; slices are made once."""
        self.values = values
        self.scramblings, self.num_points, self.latent_dim = values.shape
        self.slice = lru_cache(maxsize=32)(self._slice)

    def narrowed(self, latent_dim: int) -> Noise:
        """The same points without their last dimensions."""
        return self if latent_dim == self.latent_dim else Noise(np.ascontiguousarray(self.values[..., :latent_dim]))

    def _slice(self, start: int, end: int) -> tuple[Float32Array, FloatArray]:
        """Points start to end of every scrambling, (R (end - start), L), and their standard normal log-density."""
        points = np.ascontiguousarray(self.values[:, start:end]).reshape(-1, self.latent_dim)
        return points, -0.5 * (LOG_2PI + points.astype(np.float64) ** 2).sum(axis=-1)


class Rows(NamedTuple):
    """Rows in model units and which of their cells are there (N, F), with the encoder's loc and scale (N, L)."""

    x: Float32Array
    mask: Float32Array
    loc: Float32Array
    scale: Float32Array

    def take(self, chosen: NDArray[np.intp] | Mask) -> Rows:
        """Some of the rows."""
        return Rows(*(values[chosen] for values in self))


class Sampler(Protocol):
    """Draws samples for its rows."""

    num_points: int

    @property
    def num_rows(self) -> int:
        """N."""
        ...

    def extend(self, num_points: int) -> None:
        """Draw up to so many points of every scrambling, at least as many as there are."""
        ...

    def take(self, chosen: NDArray[np.intp] | Mask) -> Sampler:
        """The sampler of some of the rows, with what was drawn for them."""
        ...

    def log_weights(self) -> tuple[FloatArray, FloatArray]:
        """Log-weights (N, R, n), nats, and the largest absolute term that entered each row's (N,)."""
        ...


class EncoderSampler:
    """Samples of the encoder's own q(z|x)."""

    def __init__(self, network: Network, noise: Noise, rows: Rows) -> None:
        """Start with nothing drawn."""
        self._network, self._noise, self.rows = network, noise, rows
        self._log_scale = np.log(rows.scale.astype(np.float64)).sum(axis=-1)
        self._weights = np.empty((len(rows.x), noise.scramblings, 0))
        self._largest = np.zeros(len(rows.x))
        self.num_points = 0

    @property
    def num_rows(self) -> int:
        """See :class:`Sampler`."""
        return len(self.rows.x)

    def extend(self, num_points: int) -> None:
        """See :class:`Sampler`."""
        if num_points == self.num_points:
            return
        points, log_normal = self._noise.slice(self.num_points, num_points)
        log_joint = tiles.log_joint_at_points(self._network, *self.rows, points)
        log_q = log_normal - self._log_scale[:, None]
        self._largest = np.maximum(self._largest, np.maximum(_largest(log_joint), _largest(log_q)))
        new = (log_joint - log_q).reshape(len(log_joint), self._noise.scramblings, -1)
        self._weights = np.concatenate([self._weights, new], axis=-1) if self.num_points else new
        self.num_points = num_points

    def take(self, chosen: NDArray[np.intp] | Mask) -> EncoderSampler:
        """See :class:`Sampler`."""
        taken = EncoderSampler(self._network, self._noise, self.rows.take(chosen))
        taken._weights, taken._largest = self._weights[chosen], self._largest[chosen]
        taken.num_points = self.num_points
        return taken

    def log_weights(self) -> tuple[FloatArray, FloatArray]:
        """See :class:`Sampler`."""
        return self._weights, self._largest

    def best(self) -> FloatArray:
        """The sample of each row with the largest p(x, z), shape (N, L)."""
        points, log_normal = self._noise.slice(0, self.num_points)
        log_joint = self._weights.reshape(len(self._weights), -1) + log_normal
        best = points.astype(np.float64)[log_joint.argmax(axis=-1)]
        return np.asarray(self.rows.loc + self.rows.scale * best)


class MixtureSampler:
    """Samples of proposals fitted to the rows."""

    def __init__(self, network: Network, noise: Noise, rows: Rows, mixture: Mixture) -> None:
        """Start with nothing drawn."""
        self._network, self._noise, self.rows, self._mixture = network, noise, rows, mixture
        self._log_joint = np.empty((len(rows.x), noise.scramblings, 0))
        self._log_probs = np.empty((len(rows.x), 5, noise.scramblings, 0))
        self._counts = np.zeros((len(rows.x), 5), dtype=np.int64)
        self.num_points = 0

    @property
    def num_rows(self) -> int:
        """See :class:`Sampler`."""
        return len(self.rows.x)

    def extend(self, num_points: int) -> None:
        """See :class:`Sampler`."""
        if num_points == self.num_points:
            return
        points = self._noise.values[:, self.num_points : num_points].astype(np.float64)
        counts = allocate(self._mixture, points.shape[1])
        z = draw(self._mixture, points, counts).astype(np.float32)
        z = z.reshape(len(z), -1, self._noise.latent_dim)
        shape = (len(z), self._noise.scramblings, -1)
        log_joint = tiles.log_joint_at(self._network, self.rows.x, self.rows.mask, z).reshape(shape)
        log_probs = component_log_probs(self._mixture, z.astype(np.float64)).reshape(len(z), 5, *shape[1:])
        self._log_joint = np.concatenate([self._log_joint, log_joint], axis=-1)
        self._log_probs = np.concatenate([self._log_probs, log_probs], axis=-1)
        self._counts = self._counts + counts
        self.num_points = num_points

    def take(self, chosen: NDArray[np.intp] | Mask) -> MixtureSampler:
        """See :class:`Sampler`."""
        taken = MixtureSampler(self._network, self._noise, self.rows.take(chosen), self._mixture.take(chosen))
        taken._log_joint, taken._log_probs = self._log_joint[chosen], self._log_probs[chosen]
        taken._counts = self._counts[chosen]
        taken.num_points = self.num_points
        return taken

    def log_weights(self) -> tuple[FloatArray, FloatArray]:
        """See :class:`Sampler`."""
        num_rows = self.num_rows
        log_joint = self._log_joint.reshape(num_rows, -1)
        log_q = mixture_log_prob(self._log_probs.reshape(num_rows, 5, -1), self._counts)
        return (log_joint - log_q).reshape(self._log_joint.shape), np.maximum(_largest(log_joint), _largest(log_q))


def _largest(terms: FloatArray) -> FloatArray:
    """Largest absolute value of each row."""
    return np.asarray(np.maximum(terms.max(axis=-1), -terms.min(axis=-1)))
