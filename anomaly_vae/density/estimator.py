r"""log p(x) of rows in data units by importance sampling.

.. math:: \log w_k = \log p(x, z_k) - \log q(z_k \mid x), \qquad
          \log \hat p(x) = \log \tfrac1K \sum_k w_k + \log |\det J|

The estimator cuts the rows into blocks, lets threads work on the blocks, gives each block to the engine of every
member, and combines the members' estimates. The points behind the samples belong to the bundle and are the same for
every row, and a row's result does not depend on the other rows of a call (:mod:`anomaly_vae.density.tiles`). So a row's
score depends on the row alone, bit for bit. Arithmetic is float32 in the networks, float64 from the log-weights on.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.density.engine import Engine
from anomaly_vae.density.ensemble import ensemble_estimates
from anomaly_vae.density.estimates import Estimates
from anomaly_vae.density.member import Member
from anomaly_vae.density.network import Float32Array
from anomaly_vae.density.noise import Noise
from anomaly_vae.density.tiles import TILE_ROWS
from anomaly_vae.errors import ConfigError
from anomaly_vae.score_options import check_budget

__all__ = ["Decisions", "DensityEstimator", "Estimates", "default_threads"]

# Most rows of a block, which is one task of a thread. Chosen, not measured: larger blocks need less Python a row and
# more memory. Blocks are smaller where that keeps all threads busy.
_MAX_BLOCK_ROWS = 128


class Decisions(NamedTuple):
    """Rows compared with their thresholds, shape (N,) each.

    Attributes:
        log_px: Nats in data units; infinite for rows that are clearly above their thresholds.
        num_samples: Decoder evaluations spent.
    """

    log_px: FloatArray
    num_samples: NDArray[np.int64]


Result = TypeVar("Result", Estimates, Decisions)


class DensityEstimator:
    """Estimates log p(x) of rows in data units under an ensemble, with a fixed set of points."""

    def __init__(
        self,
        members: Sequence[Member],
        noise: NDArray[np.float32],
        *,
        threads: int | None = None,
        adaptive: bool = True,
    ) -> None:
        """Make an engine for each member.

        Args:
            members: The models of the ensemble; their number is a power of two.
            noise: Standard normal points, shape (R, n, L): R scramblings, L the largest latent dimension of a member.
            threads: Blocks of rows computed at a time (default: the number of cores).
            adaptive: Whether to fit proposals to rows. Otherwise every sample comes from the encoder's proposal.

        Raises:
            ConfigError: ``threads`` is below 1.
        """
        if threads is not None and threads < 1:
            raise ConfigError(f"threads must be at least 1, got {threads}")
        self.members = tuple(members)
        self.threads = threads or default_threads()
        self._noise = Noise(noise)
        self._engines = [
            Engine(m.network, self._noise.narrowed(m.latent_dim), m.likelihood, adaptive=adaptive) for m in members
        ]

    @property
    def budgets(self) -> tuple[int, ...]:
        """The allowed values of ``num_samples``: R for each member, times a power of two."""
        least = self._noise.scramblings * len(self.members)
        most = self._noise.scramblings * self._noise.num_points
        return tuple(least << j for j in range(max(most // least, 1).bit_length()))

    def check_budget(self, num_samples: int) -> int:
        """Return the number; raise ConfigError if it is not one of :attr:`budgets`."""
        return check_budget(num_samples, self.budgets)

    def points(self, num_samples: int, latent_dim: int) -> Float32Array:
        """Return the standard normal points behind the first samples of an encoder's proposal, (K, L)."""
        return self._noise.narrowed(latent_dim).slice(0, num_samples // self._noise.scramblings)[0]

    def estimate(
        self,
        rows: FloatArray,
        num_samples: int,
        max_std_error: float | None = None,
        on_rows: Callable[[int], None] | None = None,
    ) -> Estimates:
        """Estimate log p(x) of rows, shape (N, D); missing, novel and constant cells are left out of it.

        Args:
            rows: Data units, NaN where a cell is missing.
            num_samples: Most decoder evaluations a row.
            max_std_error: Stop at a row when its standard error is at most this, nats. None spends the whole budget.
            on_rows: Called after each block with its number of rows.

        Raises:
            ConfigError: ``num_samples`` is not one of :attr:`budgets`.
        """
        samples = self._samples_per_member(num_samples)

        def work(block: FloatArray) -> Estimates:
            return ensemble_estimates(
                [
                    engine.estimate(member.features.encode(block), samples, max_std_error)
                    for member, engine in self._members_and_engines()
                ]
            )

        return self._by_blocks(work, Estimates.empty(0), rows, on_rows)

    def plain_log_px(self, rows: FloatArray, num_samples: int) -> FloatArray:
        """Estimate log p(x) with every sample from the encoder's proposal, nats in data units, shape (N,).

        The result is a smooth function of the networks' rounding errors, so machines, and onnxruntime and torch, can be
        compared. With fitted proposals it is not: rounding may change the choice of a start or a mode.
        """
        samples = self._samples_per_member(num_samples)

        def work(block: FloatArray) -> Estimates:
            return ensemble_estimates(
                [
                    engine.estimate_plain(member.features.encode(block), samples)
                    for member, engine in self._members_and_engines()
                ]
            )

        return self._by_blocks(work, Estimates.empty(0), rows, None).log_px

    def joint_mismatch(self, rows: FloatArray) -> float:
        """Return the largest relative difference of log p(x, z) between decoder and log_joint, on rows in data units.

        A large value means that the graphs are not parts of one model.
        """
        largest = [
            engine.joint_mismatch(member.features.encode(rows)).max() for member, engine in self._members_and_engines()
        ]
        return float(np.max(largest))  # NaN stays NaN

    def decide(self, rows: FloatArray, num_samples: int, thresholds: FloatArray) -> Decisions:
        """Estimate only the rows that are not clearly above their thresholds (N,), nats in data units.

        The cascade (:mod:`anomaly_vae.density.cascade`) ends a row after 16 or 64 samples only if it is above its
        threshold with high confidence.
        """
        samples = self._samples_per_member(num_samples)
        rows_and_thresholds = np.concatenate([rows, thresholds[:, None]], axis=1)
        work = partial(self._decide_block, samples=samples)
        return self._by_blocks(work, Decisions(np.empty(0), np.empty(0, dtype=np.int64)), rows_and_thresholds, None)

    def encode(self, rows: FloatArray) -> FloatArray:
        """Return the means of q(z|x), (N, D) -> (N, L); the members' means are side by side."""
        width = sum(member.latent_dim for member in self.members)
        if not len(rows):
            return np.empty((0, width))
        means = [engine.encode(member.features.encode(rows)) for member, engine in self._members_and_engines()]
        return np.concatenate(means, axis=1)

    def relative_difference(self, rows: FloatArray, log_px: FloatArray, expected: FloatArray) -> FloatArray:
        """Return the difference of two log-densities relative to max(1, |log p(x)|), shape (N,).

        log p(x) is the larger of its values in data units and in model units. float32 adds up the latter, so its
        rounding is relative to them. In data units log p(x) may be near 0, and the same rounding would look like a
        fault.
        """
        base = self.members[0].features.encode(rows).base
        size = np.maximum(np.abs(expected), np.abs(expected - base))
        return np.asarray(np.abs(log_px - expected) / np.maximum(1.0, size))

    def _members_and_engines(self) -> Iterator[tuple[Member, Engine]]:
        return zip(self.members, self._engines, strict=True)

    def _samples_per_member(self, num_samples: int) -> int:
        return self.check_budget(num_samples) // len(self.members)

    def _decide_block(self, rows_and_thresholds: FloatArray, samples: int) -> Decisions:
        """Screen rows by the first member's share of the density; estimate the remaining rows with all members."""
        rows, thresholds = np.ascontiguousarray(rows_and_thresholds[:, :-1]), rows_and_thresholds[:, -1]
        (member, engine), *others = self._members_and_engines()
        # p(x) is at least p_1(x) / M: where the first member's share is above the threshold, so is the sum.
        screened = engine.screen(member.features.encode(rows), samples, thresholds + math.log(len(self.members)))
        log_px = np.full(len(rows), np.inf)
        if len(screened.remaining):
            remaining = rows[screened.remaining]
            estimates = [screened.estimates]
            estimates += [engine.estimate(member.features.encode(remaining), samples) for member, engine in others]
            combined = ensemble_estimates(estimates)
            log_px[screened.remaining] = combined.log_px
            screened.num_samples[screened.remaining] = combined.num_samples
        return Decisions(log_px, screened.num_samples)

    def _by_blocks(
        self,
        work: Callable[[FloatArray], Result],
        empty: Result,
        rows: FloatArray,
        on_rows: Callable[[int], None] | None,
    ) -> Result:
        """Apply ``work`` to blocks of rows in threads and join the results in order; ``empty`` is that of no rows."""
        rows_per_thread = -(-len(rows) // (self.threads * TILE_ROWS)) * TILE_ROWS
        step = min(rows_per_thread, _MAX_BLOCK_ROWS) or TILE_ROWS
        blocks = [rows[start : start + step] for start in range(0, len(rows), step)]
        results = [empty]
        threads = min(self.threads, len(blocks))
        with ThreadPoolExecutor(threads) if threads > 1 else contextlib.nullcontext() as pool:
            finished: Iterator[Result] = (pool.map if pool else map)(work, blocks)
            for result in finished:
                results.append(result)
                if on_rows:
                    on_rows(len(result.num_samples))
        return type(empty)(*map(np.concatenate, zip(*results, strict=True)))


def default_threads() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
