"""Call the networks in tiles, so that a row gets the same bits whatever other rows are scored with it.

Measured: onnxruntime's results depend on the shape of a call, not on a row's position in it. So:

- every call of the decoder has 64 rows, and a short one is padded with copies of its last row;
- the other graphs depend on ``Network.batch_invariant``. If it is True, tiles are large and have an even number of
  rows: of the shapes in use, only a single row gave other bits. Calls of the posterior graph have a multiple of 4 rows.
  If it is False, a call has 16 rows, or, with samples, a number of rows that follows from the number of samples alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.density.network import ContrastNetwork, Float32Array, Network, Posterior

__all__ = [
    "TILE_ROWS",
    "contrast",
    "decode",
    "encode",
    "likelihood",
    "likelihood_call",
    "log_joint_at",
    "posterior",
]

# Rows of a call of a network that is not batch-invariant, and most rows of its calls with samples. Chosen, not
# measured: larger tiles waste more time on padding, smaller ones make more calls.
TILE_ROWS = 16

# Rows of a call of the encoder of a batch-invariant network: a whole block (see estimator). Chosen, not measured.
_ENCODER_ROWS = 128

# Rows of every call of the decoder. Chosen, not measured: the trade-off of TILE_ROWS.
_DECODER_ROWS = 64

# Numbers in one value of a call of the likelihood: pairs of row and parameter vector, times the vector's length; 256
# KiB. Chosen, not measured: a value should stay in the processor's cache.
_LIKELIHOOD_NUMBERS = 2**16

_Call = Callable[..., tuple[Float32Array, ...]]


def encode(network: Network, x: Float32Array, mask: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Return mean and standard deviation of q(z|x), (N, F), (N, F) -> (N, L), (N, L)."""
    loc, log_var = _by_rows(network, network.encode, _ENCODER_ROWS, 2, x, mask)
    return loc, np.exp(0.5 * log_var.astype(np.float64)).astype(np.float32)


def decode(network: Network, z: FloatArray) -> FloatArray:
    """Return the decoder's output, (M, L) -> (M, P)."""
    latents = z.astype(np.float32)
    starts = range(0, len(z), _DECODER_ROWS)
    parts = [network.decode(_padded(latents[start : start + _DECODER_ROWS], _DECODER_ROWS)) for start in starts]
    return np.concatenate(parts)[: len(z)].astype(np.float64)


def posterior(network: Network, x: Float32Array, mask: Float32Array, z: Float32Array) -> Posterior:
    """Return log p(x, z) and its derivatives at one z per row."""
    return Posterior(*_by_rows(network, network.posterior, network.call_sizes.posterior_rows, 4, x, mask, z))


def contrast(network: ContrastNetwork, x: Float32Array, mask: Float32Array) -> Float32Array:
    """Return the log-odds of a classifier, (N, F), (N, F) -> (N, 1)."""

    def call(x: Float32Array, mask: Float32Array) -> tuple[Float32Array]:
        return (network.contrast(x, mask),)

    return _by_rows(network, call, _ENCODER_ROWS, 2, x, mask)[0]


def likelihood(network: Network, x: Float32Array, mask: Float32Array, params: Float32Array) -> Float32Array:
    """Return log p(x|z) of all pairs of a row and a parameter vector, (N, F), (N, F), (S, P) -> (N, S)."""
    rows, samples = likelihood_call(len(params), params.shape[1])
    chunks = [params[start : start + samples] for start in range(0, len(params), samples)]

    def call(x: Float32Array, mask: Float32Array) -> tuple[Float32Array]:
        return (np.concatenate([network.likelihood(x, mask, chunk) for chunk in chunks], axis=1),)

    return _by_rows(network, call, rows, 2, x, mask)[0]


def likelihood_call(num_vectors: int, num_params: int) -> tuple[int, int]:
    """Return the most rows and parameter vectors of a call of likelihood; few where the vectors are long."""
    samples = min(num_vectors, max(_LIKELIHOOD_NUMBERS // (2 * num_params) // 16 * 16, 16))
    return max(_LIKELIHOOD_NUMBERS // (samples * num_params) // 2 * 2, 2), samples


def log_joint_at(network: Network, x: Float32Array, mask: Float32Array, z: Float32Array) -> FloatArray:
    """Return log p(x, z) of every row at its own samples, (N, F), (N, F), (N, S, L) -> (N, S)."""
    num_samples = z.shape[1]
    pairs = network.call_sizes.pairs
    samples = min(num_samples, pairs)
    max_rows = pairs // samples
    rows = max_rows if network.batch_invariant else min(max_rows, TILE_ROWS)
    out = np.empty((len(x), num_samples))
    for i in range(0, len(x), rows):
        kept = min(rows, len(x) - i)
        padded = min(kept + kept % 2, rows) if network.batch_invariant else rows
        of_x, of_mask, of_z = (_padded(values[i : i + rows], padded) for values in (x, mask, z))
        for k in range(0, num_samples, samples):
            part = network.log_joint(of_x, of_mask, np.ascontiguousarray(of_z[:, k : k + samples]))
            out[i : i + kept, k : k + samples] = part[:kept]
    return out


def _by_rows(
    network: Network | ContrastNetwork, call: _Call, most: int, multiple: int, *values: Float32Array
) -> tuple[Float32Array, ...]:
    """Call a graph on tiles of rows, whose number is a multiple of another if bits allow it, and join its results."""
    rows, multiple = (most, multiple) if network.batch_invariant else (TILE_ROWS, TILE_ROWS)
    parts = []
    for i in range(0, len(values[0]), rows):
        kept = min(rows, len(values[0]) - i)
        parts.append(call(*(_padded(each[i : i + rows], -(-kept // multiple) * multiple) for each in values)))
    if len(parts) == 1:
        return tuple(found[: len(values[0])] for found in parts[0])
    return tuple(np.concatenate(found)[: len(values[0])] for found in zip(*parts, strict=True))


def _padded(tile: Float32Array, rows: int) -> Float32Array:
    """Pad a short tile with copies of its last row."""
    if len(tile) == rows:
        return tile
    return tile[np.minimum(np.arange(rows), len(tile) - 1)]
