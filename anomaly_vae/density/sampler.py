r"""Draw importance samples of rows in rounds, from the encoder's proposal or from a fitted one.

A sampler holds the log-weights drawn so far, (N, R, n) for N rows, R scramblings and n points of each. A new round
evaluates only the new points. In each round, the components of a fitted proposal divide the new points among
themselves.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.density import tiles
from anomaly_vae.density.network import Float32Array, Network
from anomaly_vae.density.noise import Noise
from anomaly_vae.density.proposals import (
    NUM_COMPONENTS,
    Mixture,
    allocate,
    component_log_probs,
    draw,
    mixture_log_prob,
)

__all__ = ["EncoderSampler", "Mask", "MixtureSampler", "Rows", "Sampler"]

Mask = NDArray[np.bool_]


class Rows(NamedTuple):
    """Rows in model units and which of their cells are present (N, F), with the encoder's loc and scale (N, L)."""

    x: Float32Array
    mask: Float32Array
    loc: Float32Array
    scale: Float32Array

    def take(self, chosen: NDArray[np.intp] | Mask) -> Rows:
        """Return some of the rows."""
        return Rows(*(values[chosen] for values in self))


class Sampler(Protocol):
    """Draws samples for its rows.

    Attributes:
        num_points: Points of every scrambling drawn so far.
    """

    num_points: int

    @property
    def num_rows(self) -> int:
        """N."""
        ...

    def extend(self, num_points: int) -> None:
        """Draw until every scrambling has this number of points, which is not below the present one."""
        ...

    def take(self, chosen: NDArray[np.intp] | Mask) -> Sampler:
        """Return a sampler of some of the rows, with their samples."""
        ...

    def log_weights(self) -> tuple[FloatArray, FloatArray]:
        """Return the log-weights (N, R, n), nats, and the largest absolute term in those of each row (N,)."""
        ...


class EncoderSampler:
    """Draws from the encoder's q(z|x)."""

    def __init__(self, network: Network, noise: Noise, rows: Rows) -> None:
        """Start without samples."""
        self._network, self._noise, self.rows = network, noise, rows
        self._log_scale = np.log(rows.scale.astype(np.float64)).sum(axis=-1)
        self._weights = np.empty((len(rows.x), noise.scramblings, 0))
        self._largest_term = np.zeros(len(rows.x))
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
        self._largest_term = np.maximum(self._largest_term, np.maximum(_largest_term(log_joint), _largest_term(log_q)))
        new = (log_joint - log_q).reshape(len(log_joint), self._noise.scramblings, -1)
        self._weights = np.concatenate([self._weights, new], axis=-1) if self.num_points else new
        self.num_points = num_points

    def take(self, chosen: NDArray[np.intp] | Mask) -> EncoderSampler:
        """See :class:`Sampler`."""
        taken = EncoderSampler(self._network, self._noise, self.rows.take(chosen))
        taken._weights, taken._largest_term = self._weights[chosen], self._largest_term[chosen]
        taken.num_points = self.num_points
        return taken

    def log_weights(self) -> tuple[FloatArray, FloatArray]:
        """See :class:`Sampler`."""
        return self._weights, self._largest_term

    def best(self) -> FloatArray:
        """Return the sample of each row with the largest p(x, z), shape (N, L)."""
        points, log_normal = self._noise.slice(0, self.num_points)
        log_joint = self._weights.reshape(len(self._weights), -1) + log_normal
        best = points.astype(np.float64)[log_joint.argmax(axis=-1)]
        return np.asarray(self.rows.loc + self.rows.scale * best)


class MixtureSampler:
    """Draws from proposals fitted to the rows."""

    def __init__(self, network: Network, noise: Noise, rows: Rows, mixture: Mixture) -> None:
        """Start without samples."""
        self._network, self._noise, self.rows, self._mixture = network, noise, rows, mixture
        self._log_joint = np.empty((len(rows.x), noise.scramblings, 0))
        self._log_probs = np.empty((len(rows.x), NUM_COMPONENTS, noise.scramblings, 0))
        self._counts = np.zeros((len(rows.x), NUM_COMPONENTS), dtype=np.int64)
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
        log_probs = component_log_probs(self._mixture, z.astype(np.float64))
        log_probs = log_probs.reshape(len(z), NUM_COMPONENTS, *shape[1:])
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
        log_q = mixture_log_prob(self._log_probs.reshape(num_rows, NUM_COMPONENTS, -1), self._counts)
        return (log_joint - log_q).reshape(self._log_joint.shape), np.maximum(
            _largest_term(log_joint), _largest_term(log_q)
        )


def _largest_term(terms: FloatArray) -> FloatArray:
    """Return the largest absolute value of each row."""
    return np.asarray(np.maximum(terms.max(axis=-1), -terms.min(axis=-1)))
