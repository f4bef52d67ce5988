"""Call the networks in tiles, so that a row gets the same bits whatever other rows are scored with it.

Measured: onnxruntime's results depend on the shape of a call, not on a row's position in it. So:

- every call of the decoder has 64 rows, and a short one is padded with copies of its last row;
- encoder and log_joint, which take most of the time, depend on ``Network.batch_invariant``. If it is True, tiles are
  large and have an even number of rows: of the shapes in use, only a single row gave other bits. If it is False, a call
  of the encoder has 16 rows, and the shape of a call of log_joint follows from the number of samples alone.
"""

from __future__ import annotations

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.density.network import Float32Array, Network

__all__ = ["TILE_ROWS", "decode", "encode", "log_joint_at", "log_joint_at_points"]

# Rows of a call of the encoder, and most rows of a call of log_joint, of a network that is not batch-invariant. Chosen,
# not measured: larger tiles waste more time on padding, smaller ones make more calls.
TILE_ROWS = 16

# Rows of a call of the encoder of a batch-invariant network: a whole block (see estimator). Chosen, not measured.
_ENCODER_ROWS = 128

# Rows of every call of the decoder. Chosen, not measured: the trade-off of TILE_ROWS.
_DECODER_ROWS = 64

# Pairs of row and sample in a call of log_joint. Of the sizes tried on one model (30 columns, two hidden layers of 128,
# K = 256, which is case A of tests/benchmarks/speed.py), 1,024 to 2,048 were the fastest.
_TILE_PAIRS = 2048


def encode(network: Network, x: Float32Array, mask: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Return mean and standard deviation of q(z|x), (N, F), (N, F) -> (N, L), (N, L)."""
    rows, multiple = (_ENCODER_ROWS, 2) if network.batch_invariant else (TILE_ROWS, TILE_ROWS)
    pairs = zip(_tiles(x, rows, multiple), _tiles(mask, rows, multiple), strict=True)
    parts = [network.encode(*pair) for pair in pairs]
    loc, log_var = (np.concatenate(values)[: len(x)] for values in zip(*parts, strict=True))
    return loc, np.exp(0.5 * log_var.astype(np.float64)).astype(np.float32)


def decode(network: Network, z: FloatArray) -> FloatArray:
    """Return the decoder's output, (M, L) -> (M, P)."""
    parts = [network.decode(tile) for tile in _tiles(z.astype(np.float32), _DECODER_ROWS, _DECODER_ROWS)]
    return np.concatenate(parts)[: len(z)].astype(np.float64)


def log_joint_at_points(
    network: Network,
    x: Float32Array,
    mask: Float32Array,
    loc: Float32Array,
    scale: Float32Array,
    points: Float32Array,
) -> FloatArray:
    """Return log p(x, z) at z = loc + scale * point, (N, S); all rows share the points (S, L)."""
    samples = min(len(points), _TILE_PAIRS)
    max_rows = _TILE_PAIRS // samples
    rows = max_rows if network.batch_invariant else min(max_rows, TILE_ROWS)
    out = np.empty((len(x), len(points)))
    for i in range(0, len(x), rows):
        kept = min(rows, len(x) - i)
        padded = min(kept + kept % 2, rows) if network.batch_invariant else rows
        tile = [_padded(values[i : i + rows], padded) for values in (x, mask, loc, scale)]
        for k in range(0, len(points), samples):
            part = network.log_joint(tile[0], tile[1], tile[2], tile[3], points[k : k + samples])
            out[i : i + kept, k : k + samples] = part[:kept]
    return out


def log_joint_at(network: Network, x: Float32Array, mask: Float32Array, z: Float32Array) -> FloatArray:
    """Return log p(x, z) of every row at its own samples, (N, F), (N, F), (N, S, L) -> (N, S)."""
    out = np.empty(z.shape[:2])
    loc = np.zeros((1, z.shape[2]), dtype=np.float32)
    scale = np.ones_like(loc)
    for i in range(len(x)):
        for k in range(0, z.shape[1], _TILE_PAIRS):
            tile = z[i, k : k + _TILE_PAIRS]
            out[i, k : k + len(tile)] = network.log_joint(x[i : i + 1], mask[i : i + 1], loc, scale, tile)[0]
    return out


def _tiles(values: Float32Array, rows: int, multiple: int) -> list[Float32Array]:
    """Cut values into tiles of ``rows`` rows; pad the last one to a multiple."""
    tiles = [values[start : start + rows] for start in range(0, len(values), rows)]
    return [_padded(tile, -(-len(tile) // multiple) * multiple) for tile in tiles]


def _padded(tile: Float32Array, rows: int) -> Float32Array:
    """Pad a short tile with copies of its last row."""
    if len(tile) == rows:
        return tile
    return np.concatenate([tile, np.repeat(tile[-1:], rows - len(tile), axis=0)])
