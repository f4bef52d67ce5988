"""What scoring needs of a model's networks, and a check of how their results depend on the shape of a call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CallSizes",
    "ContrastNetwork",
    "Float32Array",
    "Network",
    "Posterior",
    "is_batch_invariant",
    "same_contrast_in_tiles",
]

Float32Array = NDArray[np.float32]

# Rows and samples of the probe: the largest call of the encoder (see tiles), and the samples of the first round.
_PROBE_ROWS, _PROBE_SAMPLES = 128, 64

# Tile sizes that are compared with the largest: all even ones up to 16 and some above. Chosen, not measured: more sizes
# find more differences and make loading slower.
_PROBED_TILES = (*range(2, 18, 2), 24, 30, 32, 62)

# Tile sizes of the posterior graph (see tiles). Its arrays have one row of numbers for each row. In onnxruntime, Log
# gives the last elements of an array other bits if their number is no multiple of a vector's length.
_POSTERIOR_TILES = (4, 8, 12, 16, 20, 28, 32, 60)

# Numbers in the largest value of a call (2 MiB in float32), numbers of the largest value for each feature, and pairs of
# a call at least. The first two were measured, see CallSizes; the third is chosen: the first round has 16 samples.
_CACHED_NUMBERS, _VALUES_PER_FEATURE, _LEAST_PAIRS = 2**19, 4, 32

# Share of cells that the probe keeps, as the quantile of a standard normal: 90 %.
_MASK_QUANTILE = 1.3


class CallSizes(NamedTuple):
    """Sizes of the calls of a network; see :mod:`anomaly_vae.density.tiles`.

    Attributes:
        pairs: Pairs of a row and a sample in a call of log_joint, a power of two. Of the sizes tried on one model (30
            columns, two hidden layers of 128, K = 256, which is case A of tests/benchmarks/speed.py), 1,024 to 2,048
            were the fastest.
        posterior_rows: Rows in a call of posterior, a multiple of 4. Chosen, not measured: its largest values have L
            times the size of a layer, and should stay in the processor's cache.
    """

    pairs: int = 2048
    posterior_rows: int = 128

    @classmethod
    def of_convolutions(cls, num_features: int, latent_dim: int) -> CallSizes:
        """Return the sizes for a network with convolutions, whose layers are larger than its input.

        Measured on images of 28 x 28 and 64 x 64 pixels and windows of 64 steps: a pair takes 2.3 times as long once
        the largest value of a call has more than 2^19 numbers. It has up to 4 numbers for each feature and pair.
        """
        pairs = _CACHED_NUMBERS // (_VALUES_PER_FEATURE * num_features)
        rows = _CACHED_NUMBERS // (_VALUES_PER_FEATURE * num_features * latent_dim)
        return cls(
            pairs=min(max(1 << max(pairs.bit_length() - 1, 0), _LEAST_PAIRS), cls().pairs),
            posterior_rows=min(max(rows // 4 * 4, 4), cls().posterior_rows),
        )


class Posterior(NamedTuple):
    """log p(x, z) at one z per row, without the heads' base, and its derivatives in z. In the order of the graph.

    Attributes:
        log_joint: Nats, shape (N, 1).
        gradient: Shape (N, L).
        curvature: Minus the second derivative, shape (N, L, L); it may be indefinite.
        information: A positive definite curvature, shape (N, L, L); see
            :meth:`anomaly_vae.columns.likelihood.Likelihood.information`.
    """

    log_joint: Float32Array
    gradient: Float32Array
    curvature: Float32Array
    information: Float32Array


class Network(Protocol):
    """The networks of a model. Axes: N rows, S samples, L latents, F features, P parameters of p(x|z).

    Attributes:
        batch_invariant: Whether a row gets the same bits in every call with an even number of rows, of posterior with a
            multiple of 4, and whether log_joint gives the same bits for all samples in one call or for several calls of
            a multiple of 16 samples.
        call_sizes: Sizes of calls.
    """

    batch_invariant: bool
    call_sizes: CallSizes

    def encode(self, x: Float32Array, mask: Float32Array) -> tuple[Float32Array, Float32Array]:
        """x, mask (N, F) -> loc, log_var of q(z|x), (N, L)."""
        ...

    def decode(self, z: Float32Array) -> Float32Array:
        """z (N, L) -> parameters of p(x|z), (N, P)."""
        ...

    def log_joint(self, x: Float32Array, mask: Float32Array, z: Float32Array) -> Float32Array:
        """x, mask (N, F), z (N, S, L) -> log p(x, z), (N, S)."""
        ...

    def posterior(self, x: Float32Array, mask: Float32Array, z: Float32Array) -> Posterior:
        """x, mask (N, F), z (N, L) -> log p(x, z) and its derivatives."""
        ...

    def likelihood(self, x: Float32Array, mask: Float32Array, params: Float32Array) -> Float32Array:
        """x, mask (N, F), params (S, P) -> log p(x|z) of all pairs, (N, S)."""
        ...


class ContrastNetwork(Protocol):
    """The classifier of a model: see :mod:`anomaly_vae.density.contrast`.

    Attributes:
        batch_invariant: Whether a row gets the same bits in every call with an even number of rows.
    """

    batch_invariant: bool

    def contrast(self, x: Float32Array, mask: Float32Array) -> Float32Array:
        """x, mask (N, F) -> log-odds, nats, (N, 1)."""
        ...


def same_contrast_in_tiles(network: ContrastNetwork, num_features: int) -> bool:
    """Return whether the classifier is batch-invariant on this machine: compare small calls with a large one."""
    probe = _Probe.of(num_features, 1, CallSizes())

    def call(rows: int) -> tuple[Float32Array]:
        return (network.contrast(probe.x[:rows], probe.mask[:rows]),)

    return _same_in_tiles(call, _PROBED_TILES, _PROBE_ROWS)


def is_batch_invariant(network: Network, num_features: int, latent_dim: int) -> bool:
    """Return whether the network is batch-invariant on this machine: compare small calls with large ones."""
    probe = _Probe.of(num_features, latent_dim, network.call_sizes)
    params = network.decode(probe.z[0])
    in_tiles = (
        (partial(probe.encode, network), _PROBE_ROWS),
        (partial(probe.likelihood, network, params), _PROBE_ROWS),
        (partial(probe.log_joint, network, 0, 16), min(probe.sizes.pairs // 16, _PROBE_ROWS)),
    )
    return (
        all(_same_in_tiles(call, _PROBED_TILES, most) for call, most in in_tiles)
        and _same_in_tiles(partial(probe.posterior, network), _POSTERIOR_TILES, probe.sizes.posterior_rows)
        and _same_in_rounds(partial(probe.log_joint, network), max(probe.sizes.pairs // _PROBE_SAMPLES, 2))
    )


def _same_in_tiles(call: Callable[[int], Sequence[Float32Array]], tiles: Sequence[int], most: int) -> bool:
    """Return whether the first rows of a call of ``most`` rows have the same bits in calls of all smaller sizes."""
    whole = call(most)
    return all(
        _same_bits(part, expected)
        for rows in tiles
        if rows < most
        for part, expected in zip(call(rows), whole, strict=True)
    )


def _same_in_rounds(call: Callable[[int, int, int], Sequence[Float32Array]], most: int) -> bool:
    """Return whether samples have the same bits in one call and in parts of it, in calls of up to ``most`` rows."""
    (whole,) = call(0, _PROBE_SAMPLES, most)
    return all(
        _same_bits(call(first, last, rows)[0], whole[:, first:last])
        for rows in _PROBED_TILES
        if rows <= most
        for first, last in ((0, 16), (0, _PROBE_SAMPLES), (16, _PROBE_SAMPLES))
    )


class _Probe(NamedTuple):
    """Random inputs of a network."""

    x: Float32Array
    mask: Float32Array
    z: Float32Array
    sizes: CallSizes

    @classmethod
    def of(cls, num_features: int, latent_dim: int, sizes: CallSizes) -> _Probe:
        """Draw the inputs with a fixed seed."""
        rng = np.random.default_rng(0)

        def draw(*shape: int) -> Float32Array:
            return rng.standard_normal(shape, dtype=np.float32)

        x, z = draw(_PROBE_ROWS, num_features), draw(_PROBE_ROWS, _PROBE_SAMPLES, latent_dim)
        mask = (draw(*x.shape) < _MASK_QUANTILE).astype(np.float32)
        return cls(x * mask, mask, z, sizes)

    def encode(self, network: Network, rows: int) -> tuple[Float32Array, ...]:
        """Call the encoder on the first rows."""
        return network.encode(self.x[:rows], self.mask[:rows])

    def posterior(self, network: Network, rows: int) -> Posterior:
        """Call posterior on the first rows."""
        return network.posterior(self.x[:rows], self.mask[:rows], self.z[:rows, 0])

    def likelihood(self, network: Network, params: Float32Array, rows: int) -> tuple[Float32Array]:
        """Call likelihood on the first rows."""
        return (network.likelihood(self.x[:rows], self.mask[:rows], params),)

    def log_joint(self, network: Network, first: int, last: int, rows: int) -> tuple[Float32Array]:
        """Call log_joint on the first rows and on samples ``first`` to ``last``."""
        z = np.ascontiguousarray(self.z[:rows, first:last])
        return (network.log_joint(self.x[:rows], self.mask[:rows], z),)


def _same_bits(part: Float32Array, whole: Float32Array) -> bool:
    return np.array_equal(part, whole[: len(part)], equal_nan=True)
