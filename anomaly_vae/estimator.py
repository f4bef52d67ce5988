r"""log p(x) of rows by importance sampling from the encoder's proposal, in tiles of fixed shape.

.. math:: z_k = \mu(x) + \sigma(x) \odot e_k, \qquad
          \log w_k = \log p(x, z_k) - \log q(z_k \mid x), \qquad
          \log \hat p(x) = \log \tfrac1K \sum_k w_k + \log |\det J|

The points e_k are the bundle's and the same for every row, and every call of a network has one and the same shape for
a given K. So a row's score depends on the row alone, bit for bit. Float32 in the networks, float64 from there on.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.densities import FloatArray, proposal_log_prob
from anomaly_vae.errors import ConfigError
from anomaly_vae.importance import (
    effective_sample_ratio,
    evidence_lower_bound,
    importance_log_prob,
    standard_error,
)
from anomaly_vae.runtime import Float32Array, Network
from anomaly_vae.schema import Schema
from anomaly_vae.transforms import Standardise

__all__ = ["BLOCK_ROWS", "DensityEstimator", "Estimates", "default_threads"]

# One block of rows is one task of a thread and one call of the encoder; one tile is one call of log_joint.
BLOCK_ROWS = 16
_TILE_PAIRS = 1024

# Values are cut here, in standard deviations, so that squares stay finite in float32.
_FAR = 1e15


class Estimates(NamedTuple):
    """Estimates of log p(x), one entry a row, nats in data units.

    Attributes:
        log_px: Importance-sampled log p(x).
        elbo: Evidence lower bound under the encoder's own q(z|x).
        std_error: Standard error of ``log_px``; NaN where no error can be given.
        ess_ratio: Effective sample size over samples, in (0, 1].
    """

    log_px: FloatArray
    elbo: FloatArray
    std_error: FloatArray
    ess_ratio: FloatArray


class DensityEstimator:
    """Estimates log p(x) of rows in data units with a network and a fixed set of points."""

    def __init__(
        self,
        network: Network,
        noise: NDArray[np.float32],
        *,
        schema: Schema,
        transform: Standardise,
        threads: int | None = None,
    ) -> None:
        """Noise has shape (R, n, L); ``threads`` blocks of rows are in flight at once (default: the cores we have)."""
        if threads is not None and threads < 1:
            raise ConfigError(f"threads must be at least 1, got {threads}")
        self.network = network
        self.schema = schema
        self.transform = transform
        self.threads = threads or default_threads()
        self._noise = noise
        self.points = lru_cache(maxsize=8)(self._make_points)

    @property
    def budgets(self) -> tuple[int, ...]:
        """The numbers of samples that can be asked for: R, 2R, 4R and so on."""
        scramblings, points, _ = self._noise.shape
        return tuple(scramblings << j for j in range(points.bit_length()))

    def check_budget(self, num_samples: int) -> int:
        """The number, if it is one of :attr:`budgets`; otherwise raise ConfigError."""
        if num_samples not in self.budgets:
            raise ConfigError(f"num_samples must be one of {', '.join(map(str, self.budgets))}, got {num_samples!r}")
        return int(num_samples)

    def estimate(self, rows: FloatArray, num_samples: int, on_rows: Callable[[int], None] | None = None) -> Estimates:
        """Estimate log p(x) of finite rows, shape (N, D), constant columns left out of the density.

        Args:
            rows: Data units.
            num_samples: Points a row.
            on_rows: Told, as the work goes on, how many more rows are done.

        Raises:
            ConfigError: ``num_samples`` is not one of :attr:`budgets`.
        """
        self.check_budget(num_samples)
        blocks = self._blocks(rows)
        parts = [Estimates(*(np.empty(0) for _ in Estimates._fields))]
        threads = min(self.threads, len(blocks))
        with ThreadPoolExecutor(threads) if threads > 1 else contextlib.nullcontext() as pool:
            done: Iterator[Estimates] = (pool.map if pool else map)(partial(self._estimate_block, num_samples), blocks)
            for part in done:
                parts.append(part)
                if on_rows:
                    on_rows(len(part.log_px))
        return Estimates(*map(np.concatenate, zip(*parts, strict=True)))

    def encode(self, rows: FloatArray) -> FloatArray:
        """Means of q(z|x), (N, D) -> (N, L)."""
        parts = [self._propose(_padded(block, BLOCK_ROWS))[0][: len(block)] for block in self._blocks(rows)]
        return np.concatenate([np.empty((0, self._noise.shape[2])), *parts])

    def model_input(self, rows: FloatArray) -> FloatArray:
        """Modelled columns of rows in data units (N, D) in model units, cut where float32 could not square them."""
        return np.clip(self.transform.forward(rows[:, self.schema.modelled]), -_FAR, _FAR)

    def relative_difference(self, log_px: FloatArray, expected: FloatArray) -> FloatArray:
        """How far two log-densities in data units are apart, relative to max(1, |log p(x)|), shape (N,).

        The larger of log p(x) in data units and in model units counts: float32 sums in the latter, and a choice of
        units that brings log p(x) near 0 must not turn its rounding into a fault.
        """
        size = np.maximum(np.abs(expected), np.abs(expected - self.transform.log_abs_det))
        return np.asarray(np.abs(log_px - expected) / np.maximum(1.0, size))

    def _blocks(self, rows: FloatArray) -> list[Float32Array]:
        x = self.model_input(rows).astype(np.float32)
        return [x[start : start + BLOCK_ROWS] for start in range(0, len(x), BLOCK_ROWS)]

    def _estimate_block(self, num_samples: int, block: Float32Array) -> Estimates:
        log_weights, largest = self._log_weights(block, num_samples)
        return Estimates(
            log_px=importance_log_prob(log_weights) + self.transform.log_abs_det,
            elbo=evidence_lower_bound(log_weights) + self.transform.log_abs_det,
            std_error=standard_error(log_weights, largest),
            ess_ratio=effective_sample_ratio(log_weights),
        )

    def _log_weights(self, block: Float32Array, num_samples: int) -> tuple[FloatArray, FloatArray]:
        """Log-weights (N, R, n) of a block of rows, and the largest absolute term that entered each row's (N,)."""
        points = self.points(num_samples)
        x = _padded(block, BLOCK_ROWS)
        loc, scale = self._propose(x)
        log_joint = self._log_joint(x, loc, scale, points, len(block))
        log_q = proposal_log_prob(points.astype(np.float64), scale[: len(block)].astype(np.float64))
        largest = np.maximum(np.abs(log_joint).max(axis=-1), np.abs(log_q).max(axis=-1))
        return (log_joint - log_q).reshape(len(block), self._noise.shape[0], -1), largest

    def _propose(self, x: Float32Array) -> tuple[Float32Array, Float32Array]:
        loc, log_var = self.network.encode(x, np.ones_like(x))
        return loc, np.exp(0.5 * log_var.astype(np.float64)).astype(np.float32)

    def _log_joint(
        self, x: Float32Array, loc: Float32Array, scale: Float32Array, points: Float32Array, num_rows: int
    ) -> FloatArray:
        """log p(x, z) of the first ``num_rows`` rows at every point, float64, shape (num_rows, K)."""
        samples = min(len(points), _TILE_PAIRS)
        rows = min(_TILE_PAIRS // samples, BLOCK_ROWS)
        out = np.empty((num_rows, len(points)))
        mask = np.ones((rows, x.shape[1]), dtype=np.float32)
        for i in range(0, num_rows, rows):
            tile = slice(i, i + rows)
            kept = min(rows, num_rows - i)
            for k in range(0, len(points), samples):
                part = self.network.log_joint(x[tile], mask, loc[tile], scale[tile], points[k : k + samples])
                out[i : i + kept, k : k + samples] = part[:kept]
        return out

    def _make_points(self, num_samples: int) -> Float32Array:
        """The first points of each scrambling, (K, L)."""
        scramblings, _, latent_dim = self._noise.shape
        return np.ascontiguousarray(self._noise[:, : num_samples // scramblings]).reshape(num_samples, latent_dim)


def default_threads() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _padded(block: Float32Array, rows: int) -> Float32Array:
    """Fill a short block up with copies of its last row."""
    if len(block) == rows:
        return block
    return np.concatenate([block, np.repeat(block[-1:], rows - len(block), axis=0)])
