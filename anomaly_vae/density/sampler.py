r"""Draw importance samples of rows in rounds, from the encoder's proposal or from a fitted one.

A sampler holds the log-weights drawn so far, (N, R, n) for N rows, R scramblings and n points of each. A new round
evaluates only the new points.
"""

from __future__ import annotations

import copy
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.density import tiles
from anomaly_vae.density.network import Float32Array, Network
from anomaly_vae.density.noise import Noise
from anomaly_vae.density.proposals import (
    Mixture,
    allocate,
    draw,
    mixture_log_prob,
    refit,
    squared_distances,
)

__all__ = ["EncoderSampler", "Mask", "MixtureSampler", "Rows", "Sampler"]

Mask = NDArray[np.bool_]

# Float64 numbers in the samples that are drawn at once, 1 MiB; it limits the rows of a pass. Chosen, not measured: few
# rows keep the arrays in the processor's cache, many save calls.
_PASS_NUMBERS = 2**17


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
        step = max(_PASS_NUMBERS // points.size, 1)
        passes = (slice(i, i + step) for i in range(0, self.num_rows, step))
        log_joint = np.concatenate([np.empty((0, len(points))), *(self._evaluate(rows, points) for rows in passes)])
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

    def _evaluate(self, rows: slice, points: Float32Array) -> FloatArray:
        """Return log p(x, z) of some rows at the samples of points (S, L), nats, shape (N, S)."""
        x, mask, loc, scale = (values[rows] for values in self.rows)
        z = loc[:, None].astype(np.float64) + scale[:, None].astype(np.float64) * points
        return tiles.log_joint_at(self._network, x, mask, z.astype(np.float32))

    def log_joint(self) -> FloatArray:
        """Return log p(x, z) of the samples, nats, shape (N, R, n)."""
        _, log_normal = self._noise.slice(0, self.num_points)
        log_q = log_normal - self._log_scale[:, None]
        return np.asarray(self._weights + log_q.reshape(self._weights.shape))


class MixtureSampler:
    """Draws from proposals fitted to the rows."""

    def __init__(
        self, network: Network, noise: Noise, rows: Rows, mixture: Mixture, pilot: FloatArray, *, heavy: bool
    ) -> None:
        """Start with the encoder's samples.

        Args:
            network: The model.
            noise: Its points.
            rows: The rows.
            mixture: Their proposals.
            pilot: log p(x, z) of the first point of every scrambling, which the encoder drew, nats, shape (N, R, 1).
            heavy: Whether the modes have the tails of Student's t.
        """
        self._network, self._noise, self.rows, self._mixture = network, noise, rows, mixture
        self._heavy = heavy
        self._log_joint = pilot
        points = noise.values[:, 0].astype(np.float64).T
        z = mixture.encoder_loc[:, :, None] + mixture.encoder_scale[:, :, None] * points
        self._z = z[..., None].astype(np.float32)
        self._distances = squared_distances(mixture, z)[..., None]
        self._counts = np.zeros((len(pilot), mixture.share.shape[1] + 1), dtype=np.int64)
        self._counts[:, -1] = 1
        self.num_points = 1

    @property
    def num_rows(self) -> int:
        """See :class:`Sampler`."""
        return len(self.rows.x)

    def extend(self, num_points: int) -> None:
        """See :class:`Sampler`."""
        if num_points == self.num_points:
            return
        drawn = slice(self.num_points, num_points)
        points = np.moveaxis(self._noise.values[:, drawn].astype(np.float64), 2, 0)
        radii = self._noise.radii[:, drawn] if self._heavy else None
        components = allocate(self._mixture, self.num_points, num_points)
        for component in range(self._counts.shape[1]):
            self._counts[:, component] += (components == component).sum(axis=1)
        step = max(_PASS_NUMBERS // points.size, 1)
        parts = [
            self._sample(slice(i, i + step), points, radii, components[i : i + step])
            for i in range(0, self.num_rows, step)
        ]
        z, log_joint, distances = (np.concatenate(values) for values in zip(*parts, strict=True))
        self._z = np.concatenate([self._z, z], axis=-1)
        self._log_joint = np.concatenate([self._log_joint, log_joint], axis=-1)
        self._distances = np.concatenate([self._distances, distances], axis=-1)
        self.num_points = num_points

    def take(self, chosen: NDArray[np.intp] | Mask) -> MixtureSampler:
        """See :class:`Sampler`."""
        rows, mixture = self.rows.take(chosen), self._mixture.take(chosen)
        taken = copy.copy(self)
        taken.rows, taken._mixture = rows, mixture
        taken._z, taken._log_joint = self._z[chosen], self._log_joint[chosen]
        taken._distances = self._distances[chosen]
        taken._counts = self._counts[chosen]
        return taken

    def log_weights(self) -> tuple[FloatArray, FloatArray]:
        """See :class:`Sampler`."""
        num_rows = self.num_rows
        log_joint = self._log_joint.reshape(num_rows, -1)
        distances = self._distances.reshape(*self._distances.shape[:2], -1)
        log_q = mixture_log_prob(self._mixture, distances, self._counts, heavy=self._heavy)
        return (log_joint - log_q).reshape(self._log_joint.shape), np.maximum(
            _largest_term(log_joint), _largest_term(log_q)
        )

    def samples(self) -> FloatArray:
        """Return z of the samples, in the order of the log-weights, shape (N, R n, L)."""
        return np.ascontiguousarray(np.swapaxes(self._z.reshape(*self._z.shape[:2], -1), 1, 2), dtype=np.float64)

    def refitted(self) -> Mixture:
        """Return proposals that also have a component with the mean and covariance of the samples under their weights.

        References:
            Cappé et al., Population Monte Carlo (2004)
        """
        weights, _ = self.log_weights()
        z = self._z.reshape(*self._z.shape[:2], -1).astype(np.float64)
        return refit(self._mixture, z, weights)

    def _sample(
        self, rows: slice, points: FloatArray, radii: FloatArray | None, components: NDArray[np.int64]
    ) -> tuple[Float32Array, FloatArray, FloatArray]:
        """Draw for some rows; return z, (N, L, R, n), log p(x, z) and squared distances, (N, M + 1, R, n)."""
        mixture = Mixture(*(values[rows] for values in self._mixture))
        z = draw(mixture, points, radii, components).astype(np.float32)
        flat, shape = z.reshape(*z.shape[:2], -1), z.shape[2:]
        by_sample = np.ascontiguousarray(np.swapaxes(flat, 1, 2))
        log_joint = tiles.log_joint_at(self._network, self.rows.x[rows], self.rows.mask[rows], by_sample)
        distances = squared_distances(mixture, flat.astype(np.float64))
        return z, log_joint.reshape(len(z), *shape), distances.reshape(*distances.shape[:2], *shape)


def _largest_term(terms: FloatArray) -> FloatArray:
    """Return the largest absolute value of each row."""
    return np.asarray(np.maximum(terms.max(axis=-1), -terms.min(axis=-1)))
