"""The networks in tiles of fixed shape, so that what a row gets does not depend on what stands beside it.

onnxruntime's results were measured to depend on the shape of a call, not on a row's place in it. So every call of the
decoder has 64 rows; a short one is filled up with copies. For encoder and log_joint, where the time goes, a network is
asked what it can stand: of the shapes in use only a single row was found to give other bits. Where it can stand any
even number of rows, tiles are as large as the cache likes and no larger than the rows; otherwise a call of the encoder
has 16 rows, and the shape of log_joint's follows from the number of samples alone.
"""

from __future__ import annotations

import numpy as np

from anomaly_vae.densities import FloatArray
from anomaly_vae.runtime import Float32Array, Network

__all__ = ["TILE_ROWS", "decode", "encode", "log_joint_at", "log_joint_at_points"]

# Rows of one call of the encoder, and the most of one call of log_joint that cannot stand any tile.
TILE_ROWS = 16

_ENCODER_ROWS = 128
_DECODER_ROWS = 64
_TILE_PAIRS = 2048


def encode(network: Network, x: Float32Array, mask: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Mean and standard deviation of q(z|x), (N, F), (N, F) -> (N, L), (N, L)."""
    rows, least = (_ENCODER_ROWS, 2) if network.any_tile else (TILE_ROWS, TILE_ROWS)
    pairs = zip(_tiles(x, rows, least), _tiles(mask, rows, least), strict=True)
    parts = [network.encode(*pair) for pair in pairs]
    loc, log_var = (np.concatenate(values)[: len(x)] for values in zip(*parts, strict=True))
    return loc, np.exp(0.5 * log_var.astype(np.float64)).astype(np.float32)


def decode(network: Network, z: FloatArray) -> FloatArray:
    """The decoder's output, (M, L) -> (M, P)."""
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
    """log p(x, z) at z = loc + scale * point, all rows at the same points (S, L), (N, ...) -> (N, S)."""
    samples = min(len(points), _TILE_PAIRS)
    most = _TILE_PAIRS // samples
    rows = most if network.any_tile else min(most, TILE_ROWS)
    out = np.empty((len(x), len(points)))
    for i in range(0, len(x), rows):
        kept = min(rows, len(x) - i)
        filled = min(kept + kept % 2, rows) if network.any_tile else rows
        tile = [_filled(values[i : i + rows], filled) for values in (x, mask, loc, scale)]
        for k in range(0, len(points), samples):
            part = network.log_joint(tile[0], tile[1], tile[2], tile[3], points[k : k + samples])
            out[i : i + kept, k : k + samples] = part[:kept]
    return out


def log_joint_at(network: Network, x: Float32Array, mask: Float32Array, z: Float32Array) -> FloatArray:
    """log p(x, z) of every row at samples of its own, (N, F), (N, F), (N, S, L) -> (N, S)."""
    out = np.empty(z.shape[:2])
    loc = np.zeros((1, z.shape[2]), dtype=np.float32)
    scale = np.ones_like(loc)
    for i in range(len(x)):
        for k in range(0, z.shape[1], _TILE_PAIRS):
            tile = z[i, k : k + _TILE_PAIRS]
            out[i, k : k + len(tile)] = network.log_joint(x[i : i + 1], mask[i : i + 1], loc, scale, tile)[0]
    return out


def _tiles(values: Float32Array, rows: int, multiple: int) -> list[Float32Array]:
    """Tiles of so many rows; a short one is filled up to a multiple."""
    tiles = [values[start : start + rows] for start in range(0, len(values), rows)]
    return [_filled(tile, -(-len(tile) // multiple) * multiple) for tile in tiles]


def _filled(tile: Float32Array, rows: int) -> Float32Array:
    """Fill a short tile up with copies of its last row."""
    if len(tile) == rows:
        return tile
    return np.concatenate([tile, np.repeat(tile[-1:], rows - len(tile), axis=0)])
