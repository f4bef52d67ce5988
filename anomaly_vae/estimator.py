r"""log p(x) of rows by importance sampling, in tiles of fixed shape.

.. math:: \log w_k = \log p(x, z_k) - \log q(z_k \mid x), \qquad
          \log \hat p(x) = \log \tfrac1K \sum_k w_k + \log |\det J|

A first round of 64 samples comes from the encoder's q(z|x). Where its weights are nearly equal, the rest does too;
elsewhere q is fitted to the row, and the estimate made of new samples alone. The points behind the samples are the
bundle's and the same for every row, and every call of a network has a fixed shape. So a row's score depends on the row
alone, bit for bit. Float32 in the networks, float64 from there on.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from anomaly_vae import tiles
from anomaly_vae.densities import FloatArray
from anomaly_vae.engine import Decisions, Engine, Estimates
from anomaly_vae.errors import ConfigError
from anomaly_vae.likelihood import Likelihood
from anomaly_vae.runtime import Float32Array, Network
from anomaly_vae.sampler import Noise
from anomaly_vae.schema import Schema
from anomaly_vae.tiles import TILE_ROWS
from anomaly_vae.transforms import Standardise

__all__ = ["DensityEstimator", "Estimates", "default_threads"]

# Most rows of a block, which is one task of a thread; fewer where that keeps all threads busy.
_MOST_BLOCK_ROWS = 128

# Values are cut here, in standard deviations, so that squares stay finite in float32.
_FAR = 1e15


Part = TypeVar("Part", Estimates, Decisions)


class DensityEstimator:
    """Estimates log p(x) of rows in data units with a network and a fixed set of points."""

    def __init__(
        self,
        network: Network,
        noise: NDArray[np.float32],
        *,
        schema: Schema,
        transform: Standardise,
        likelihood: Likelihood,
        threads: int | None = None,
        adaptive: bool = True,
    ) -> None:
        """Make ready.

        Args:
            network: The model.
            noise: Standard normal points of R scramblings, shape (R, n, L).
            schema, transform, likelihood: From the manifest.
            threads: Blocks of rows in flight at once (default: the cores we have).
            adaptive: Whether to fit proposals to rows; without, every sample comes from the encoder's.
        """
        if threads is not None and threads < 1:
            raise ConfigError(f"threads must be at least 1, got {threads}")
        self.network = network
        self.schema = schema
        self.transform = transform
        self.threads = threads or default_threads()
        self._noise = Noise(noise)
        self._engine = Engine(network, self._noise, likelihood, adaptive=adaptive)

    @property
    def budgets(self) -> tuple[int, ...]:
        """The numbers of samples that can be asked for: R, 2R, 4R and so on."""
        return tuple(self._noise.scramblings << j for j in range(self._noise.num_points.bit_length()))

    def check_budget(self, num_samples: int) -> int:
        """The number, if it is one of :attr:`budgets`; otherwise raise ConfigError."""
        if num_samples not in self.budgets:
            raise ConfigError(f"num_samples must be one of {', '.join(map(str, self.budgets))}, got {num_samples!r}")
        return int(num_samples)

    def points(self, num_samples: int) -> Float32Array:
        """The standard normal points behind so many samples of the encoder's proposal, (K, L)."""
        return self._noise.slice(0, num_samples // self._noise.scramblings)[0]

    def estimate(
        self,
        rows: FloatArray,
        num_samples: int,
        max_std_error: float | None = None,
        on_rows: Callable[[int], None] | None = None,
    ) -> Estimates:
        """Estimate log p(x) of finite rows, shape (N, D), constant columns left out of the density.

        Args:
            rows: Data units.
            num_samples: Most decoder evaluations a row.
            max_std_error: Stop at a row when its standard error is at most this, nats.
            on_rows: Told, as the work goes on, how many more rows are done.

        Raises:
            ConfigError: ``num_samples`` is not one of :attr:`budgets`.
        """
        self.check_budget(num_samples)
        work = partial(self._engine.estimate, num_samples=num_samples, max_std_error=max_std_error)
        found = self._by_blocks(work, Estimates.empty(0), rows, on_rows)
        offset = self.transform.log_abs_det
        return found._replace(log_px=found.log_px + offset, elbo=found.elbo + offset)

    def plain_log_px(self, rows: FloatArray, num_samples: int) -> FloatArray:
        """log p(x) with every sample from the encoder's proposal, nats in data units, shape (N,).

        Smooth in the rounding of the networks, which may differ between machines and between onnxruntime and torch; a
        fitted proposal is not, since a start or a mode may be chosen by a hair's breadth.
        """
        self.check_budget(num_samples)
        work = partial(self._engine.estimate_plainly, num_samples=num_samples)
        return self._by_blocks(work, Estimates.empty(0), rows, None).log_px + self.transform.log_abs_det

    def joint_mismatch(self, rows: FloatArray) -> float:
        """How far decoder and log_joint are apart on rows in data units, relative: they are parts of one model."""
        return float(self._engine.joint_mismatch(self._network_input(rows)).max())

    def decide(self, rows: FloatArray, num_samples: int, threshold: float) -> Decisions:
        """Which rows have an estimate below the threshold, nats in data units, sparing those that clearly do not.

        A row leaves after 16 or 64 samples only as not below it: see :mod:`anomaly_vae.cascade`.
        """
        self.check_budget(num_samples)
        offset = self.transform.log_abs_det
        work = partial(self._engine.decide, num_samples=num_samples, threshold=threshold, offset=offset)
        nothing = Decisions(np.empty(0, dtype=bool), np.empty(0, dtype=np.int64))
        return self._by_blocks(work, nothing, rows, None)

    def encode(self, rows: FloatArray) -> FloatArray:
        """Means of q(z|x), (N, D) -> (N, L)."""
        if not len(rows):
            return np.empty((0, self._noise.latent_dim))
        return tiles.encode(self.network, self._network_input(rows))[0].astype(np.float64)

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

    def _network_input(self, rows: FloatArray) -> Float32Array:
        return self.model_input(rows).astype(np.float32)

    def _by_blocks(
        self,
        work: Callable[[Float32Array], Part],
        nothing: Part,
        rows: FloatArray,
        on_rows: Callable[[int], None] | None,
    ) -> Part:
        """Do the work on blocks of rows, several at a time, and join what comes out, in order."""
        step = min(-(-len(rows) // (self.threads * TILE_ROWS)) * TILE_ROWS, _MOST_BLOCK_ROWS) or TILE_ROWS
        blocks = [rows[start : start + step] for start in range(0, len(rows), step)]
        parts = [nothing]
        threads = min(self.threads, len(blocks))
        with ThreadPoolExecutor(threads) if threads > 1 else contextlib.nullcontext() as pool:
            done: Iterator[Part] = (pool.map if pool else map)(lambda block: work(self._network_input(block)), blocks)
            for part in done:
                parts.append(part)
                if on_rows:
                    on_rows(len(part.num_samples))
        return type(nothing)(*map(np.concatenate, zip(*parts, strict=True)))


def default_threads() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
