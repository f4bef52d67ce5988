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
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.densities import FloatArray
from anomaly_vae.engine import Engine, Estimates
from anomaly_vae.errors import ConfigError
from anomaly_vae.member import Member
from anomaly_vae.mixture import mixture_estimates
from anomaly_vae.runtime import Float32Array
from anomaly_vae.sampler import Noise
from anomaly_vae.tiles import TILE_ROWS

__all__ = ["Decided", "DensityEstimator", "Estimates", "default_threads"]

# Most rows of a block, which is one task of a thread; fewer where that keeps all threads busy.
_MOST_BLOCK_ROWS = 128


class Decided(NamedTuple):
    """Rows against their thresholds, shape (N,) each.

    Attributes:
        log_px: Nats in data units; infinite for rows that were clearly above their thresholds.
        num_samples: Decoder evaluations spent.
    """

    log_px: FloatArray
    num_samples: NDArray[np.int64]


Part = TypeVar("Part", Estimates, Decided)


class DensityEstimator:
    """Estimates log p(x) of rows in data units with a model, or a mixture of some, and a fixed set of points."""

    def __init__(
        self,
        members: Sequence[Member],
        noise: NDArray[np.float32],
        *,
        threads: int | None = None,
        adaptive: bool = True,
    ) -> None:
        """Make ready.

        Args:
            members: The models, a power of two of them.
            noise: Standard normal points of R scramblings, shape (R, n, L), L the most latent dimensions of a member.
            threads: Blocks of rows in flight at once (default: the cores we have).
            adaptive: Whether to fit proposals to rows; without, every sample comes from the encoder's.
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
        """The numbers of samples that can be asked for: R for each member, twice that, and so on."""
        least = self._noise.scramblings * len(self.members)
        most = self._noise.scramblings * self._noise.num_points
        return tuple(least << j for j in range(max(most // least, 1).bit_length()))

    def check_budget(self, num_samples: int) -> int:
        """The number, if it is one of :attr:`budgets`; otherwise raise ConfigError."""
        if num_samples not in self.budgets:
            raise ConfigError(f"num_samples must be one of {', '.join(map(str, self.budgets))}, got {num_samples!r}")
        return int(num_samples)

    def points(self, num_samples: int, latent_dim: int) -> Float32Array:
        """The standard normal points behind so many samples of an encoder's proposal, (K, L)."""
        return self._noise.narrowed(latent_dim).slice(0, num_samples // self._noise.scramblings)[0]

    def estimate(
        self,
        rows: FloatArray,
        num_samples: int,
        max_std_error: float | None = None,
        on_rows: Callable[[int], None] | None = None,
    ) -> Estimates:
        """Estimate log p(x) of rows, shape (N, D); cells that are missing or novel, or constant, are left out of it.

        Args:
            rows: Data units, NaN where a cell is missing.
            num_samples: Most decoder evaluations a row.
            max_std_error: Stop at a row when its standard error is at most this, nats.
            on_rows: Told, as the work goes on, how many more rows are done.

        Raises:
            ConfigError: ``num_samples`` is not one of :attr:`budgets`.
        """
        share = self._share(num_samples)

        def work(block: FloatArray) -> Estimates:
            return mixture_estimates(
                [
                    engine.estimate(member.features.encode(block), share, max_std_error)
                    for member, engine in self._pairs()
                ]
            )

        return self._by_blocks(work, Estimates.empty(0), rows, on_rows)

    def plain_log_px(self, rows: FloatArray, num_samples: int) -> FloatArray:
        """log p(x) with every sample from the encoder's proposal, nats in data units, shape (N,).

        Smooth in the rounding of the networks, which may differ between machines and between onnxruntime and torch; a
        fitted proposal is not, since a start or a mode may be chosen by a hair's breadth.
        """
        share = self._share(num_samples)

        def work(block: FloatArray) -> Estimates:
            return mixture_estimates(
                [engine.estimate_plainly(member.features.encode(block), share) for member, engine in self._pairs()]
            )

        return self._by_blocks(work, Estimates.empty(0), rows, None).log_px

    def joint_mismatch(self, rows: FloatArray) -> float:
        """How far decoder and log_joint are apart on rows in data units, relative: they are parts of one model."""
        worst = [engine.joint_mismatch(member.features.encode(rows)).max() for member, engine in self._pairs()]
        return float(np.max(worst))  # NaN stays NaN

    def decide(self, rows: FloatArray, num_samples: int, thresholds: FloatArray) -> Decided:
        """Estimate only the rows that are not clearly above their thresholds (N,), nats in data units.

        A row leaves after 16 or 64 samples only as not below its threshold: see :mod:`anomaly_vae.cascade`.
        """
        share = self._share(num_samples)
        joined = np.concatenate([rows, thresholds[:, None]], axis=1)
        work = partial(self._decide_block, share=share)
        return self._by_blocks(work, Decided(np.empty(0), np.empty(0, dtype=np.int64)), joined, None)

    def encode(self, rows: FloatArray) -> FloatArray:
        """Means of q(z|x), (N, D) -> (N, L), those of all members side by side."""
        width = sum(member.latent_dim for member in self.members)
        if not len(rows):
            return np.empty((0, width))
        return np.concatenate([e.encode(m.features.encode(rows)) for m, e in self._pairs()], axis=1)

    def relative_difference(self, rows: FloatArray, log_px: FloatArray, expected: FloatArray) -> FloatArray:
        """How far two log-densities of rows in data units are apart, relative to max(1, |log p(x)|), shape (N,).

        The larger of log p(x) in data units and in model units counts: float32 sums in the latter, and a choice of
        units that brings log p(x) near 0 must not turn its rounding into a fault.
        """
        base = self.members[0].features.encode(rows).base
        size = np.maximum(np.abs(expected), np.abs(expected - base))
        return np.asarray(np.abs(log_px - expected) / np.maximum(1.0, size))

    def _pairs(self) -> Iterator[tuple[Member, Engine]]:
        return zip(self.members, self._engines, strict=True)

    def _share(self, num_samples: int) -> int:
        """Samples of each member."""
        return self.check_budget(num_samples) // len(self.members)

    def _decide_block(self, joined: FloatArray, share: int) -> Decided:
        """A row whose density under the first member alone is enough leaves; the others are estimated by all."""
        rows, thresholds = np.ascontiguousarray(joined[:, :-1]), joined[:, -1]
        (member, engine), *others = self._pairs()
        found = engine.screen(member.features.encode(rows), share, thresholds + math.log(len(self.members)))
        log_px = np.full(len(rows), np.inf)
        if len(found.left):
            rest = rows[found.left]
            estimates = [found.estimates]
            estimates += [engine.estimate(member.features.encode(rest), share) for member, engine in others]
            full = mixture_estimates(estimates)
            log_px[found.left], found.num_samples[found.left] = full.log_px, full.num_samples
        return Decided(log_px, found.num_samples)

    def _by_blocks(
        self,
        work: Callable[[FloatArray], Part],
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
            done: Iterator[Part] = (pool.map if pool else map)(work, blocks)
            for part in done:
                parts.append(part)
                if on_rows:
                    on_rows(len(part.num_samples))
        return type(nothing)(*map(np.concatenate, zip(*parts, strict=True)))


def default_threads() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
