"""What scoring needs of a model's networks, and a check of how their results depend on the shape of a call."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Float32Array", "Network", "is_batch_invariant"]

Float32Array = NDArray[np.float32]

# Rows and samples of the probe: the largest call of the encoder (see tiles), and the samples of the pilot.
_PROBE_ROWS, _PROBE_SAMPLES = 128, 64

# Tile sizes that are compared with the largest: all even ones up to 16 and some above. Chosen, not measured: more sizes
# find more differences and make loading slower.
_PROBED_TILES = (*range(2, 18, 2), 24, 30, 32, 62)

# Share of cells that the probe keeps, as the quantile of a standard normal: 90 %.
_MASK_QUANTILE = 1.3


class Network(Protocol):
    """The networks of a model. Axes: N rows, S samples, L latents, F features, P parameters of p(x|z).

    Attributes:
        batch_invariant: Whether a row gets the same bits in every call with an even number of rows, and whether
            log_joint gives the same bits for all samples in one call or for several calls of a multiple of 16 samples.
    """

    batch_invariant: bool

    def encode(self, x: Float32Array, mask: Float32Array) -> tuple[Float32Array, Float32Array]:
        """x, mask (N, F) -> loc, log_var of q(z|x), (N, L)."""
        ...

    def decode(self, z: Float32Array) -> Float32Array:
        """z (N, L) -> parameters of p(x|z), (N, P)."""
        ...

    def log_joint(
        self, x: Float32Array, mask: Float32Array, loc: Float32Array, scale: Float32Array, noise: Float32Array
    ) -> Float32Array:
        """x, mask (N, F), loc, scale (N, L), noise (S, L) -> log p(x, z) at z = loc + scale * noise, (N, S)."""
        ...


def is_batch_invariant(network: Network, num_features: int, latent_dim: int) -> bool:
    """Return whether the network is batch-invariant on this machine: compare small calls with large ones."""
    probe = _Probe.of(num_features, latent_dim)
    many = probe.log_joint(network, _PROBE_ROWS, 0, 16)
    few = probe.log_joint(network, _PROBE_ROWS // 4, 0, _PROBE_SAMPLES)
    moments = network.encode(probe.x, probe.mask)
    return (
        _same_bits(np.ascontiguousarray(few[:, :16]), many)
        and all(_same_bits(probe.log_joint(network, rows, 0, 16), many) for rows in _PROBED_TILES)
        and all(
            _same_bits(probe.log_joint(network, rows, first, _PROBE_SAMPLES), few[:, first:])
            for rows in _PROBED_TILES
            if rows <= len(few)
            for first in (0, 16)
        )
        and all(
            _same_bits(part, whole)
            for rows in _PROBED_TILES
            for part, whole in zip(network.encode(probe.x[:rows], probe.mask[:rows]), moments, strict=True)
        )
    )


class _Probe(NamedTuple):
    """Random inputs of a network."""

    x: Float32Array
    mask: Float32Array
    loc: Float32Array
    scale: Float32Array
    noise: Float32Array

    @classmethod
    def of(cls, num_features: int, latent_dim: int) -> _Probe:
        """Draw the inputs with a fixed seed."""
        rng = np.random.default_rng(0)

        def draw(*shape: int) -> Float32Array:
            return rng.standard_normal(shape, dtype=np.float32)

        x, loc = draw(_PROBE_ROWS, num_features), draw(_PROBE_ROWS, latent_dim)
        noise = draw(_PROBE_SAMPLES, latent_dim)
        mask = (draw(*x.shape) < _MASK_QUANTILE).astype(np.float32)
        return cls(x * mask, mask, loc, np.exp(0.5 * loc), noise)

    def log_joint(self, network: Network, rows: int, first: int, last: int) -> Float32Array:
        """Call log_joint on the first rows and on samples ``first`` to ``last``."""
        x, mask, loc, scale = (values[:rows] for values in (self.x, self.mask, self.loc, self.scale))
        return network.log_joint(x, mask, loc, scale, self.noise[first:last])


def _same_bits(part: Float32Array, whole: Float32Array) -> bool:
    return np.array_equal(part, whole[: len(part)], equal_nan=True)
