r"""log p(x) of rows in data units by importance sampling.

.. math:: \log w_k = \log p(x, z_k) - \log q(z_k \mid x), \qquad
          \log \hat p(x) = \log \tfrac1K \sum_k w_k + \log |\det J|

The estimator cuts the rows into blocks, lets threads work on the blocks, gives each block to the engine of every
member, and combines the members' estimates. The points behind the samples belong to the bundle and are the same for
every row, and a row's result does not depend on the other rows of a call (:mod:`anomaly_vae.density.tiles`). So a row's
score depends on the row alone, bit for bit. Arithmetic is float32 in the networks, float64 from the log-weights on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.features import Inputs
from anomaly_vae.density.adaptive import QUICK_PHASE, THOROUGH_PHASE, Phase, run_phase
from anomaly_vae.density.blocks import default_threads, map_blocks
from anomaly_vae.density.cascade import Decisions
from anomaly_vae.density.engine import Engine, Screened
from anomaly_vae.density.ensemble import ensemble_estimates, log_mean_exp
from anomaly_vae.density.estimates import Estimates
from anomaly_vae.density.member import Member
from anomaly_vae.density.network import Float32Array
from anomaly_vae.density.noise import Noise
from anomaly_vae.density.partial import Partial
from anomaly_vae.density.precision import Precision
from anomaly_vae.density.samples import Samples
from anomaly_vae.errors import ConfigError
from anomaly_vae.score_options import check_budget

__all__ = ["Decisions", "DensityEstimator", "Estimates", "Precision"]


class DensityEstimator:
    """Estimates log p(x) of rows in data units under an ensemble, with a fixed set of points."""

    def __init__(
        self,
        members: Sequence[Member],
        noise: NDArray[np.float32],
        *,
        threads: int | None = None,
        adaptive: bool = True,
        extra_starts: int = 0,
    ) -> None:
        """Make an engine for each member.

        Args:
            members: The models of the ensemble; their number is a power of two.
            noise: Standard normal points, shape (R, n, L + 1): R scramblings, L the most latent dimensions of a member.
            threads: Blocks of rows computed at a time (default: the number of cores).
            adaptive: Whether to fit proposals to rows. Otherwise every sample comes from the encoder's proposal.
            extra_starts: Starts of the quick fits of proposals, next to the encoder's mean.

        Raises:
            ConfigError: ``threads`` is below 1.
        """
        if threads is not None and threads < 1:
            raise ConfigError(f"threads must be at least 1, got {threads}")
        self.members = tuple(members)
        self.threads = threads or default_threads()
        self._noise = Noise(noise)
        self._engines = [
            Engine(
                member.network,
                self._noise_of(m),
                member.likelihood,
                prior=member.prior,
                adaptive=adaptive,
                extra_starts=extra_starts,
            )
            for m, member in enumerate(members)
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

    def points(self, num_samples: int, member: int) -> Float32Array:
        """Return the standard normal points behind the first samples of a member's encoder, (K, L)."""
        return self._noise_of(member).slice(0, num_samples // self._noise.scramblings)[0]

    def _noise_of(self, member: int) -> Noise:
        return self._noise.of_member(member, len(self.members), self.members[member].latent_dim)

    def estimate(
        self,
        rows: FloatArray,
        precision: Precision,
        *,
        careful_below: FloatArray | None = None,
        on_rows: Callable[[int], None] | None = None,
    ) -> Estimates:
        """Estimate log p(x) of rows, shape (N, D); missing cells are left out of it.

        Args:
            rows: Data units, NaN where a cell is missing.
            precision: The error target and the cap (:mod:`anomaly_vae.density.adaptive`).
            careful_below: A row with a lower log p(x) gets the thorough search at once, nats in data units, shape (N,).
            on_rows: Called after each block with its number of rows.

        Raises:
            ConfigError: The cap is not one of :attr:`budgets`.
        """
        self.check_budget(precision.num_samples)
        budget = precision.num_samples // len(self.members)
        if not all(engine.affords_quick_phase(budget) for engine in self._engines):
            return self.estimate_fixed(rows, precision.num_samples)
        limits = np.full(len(rows), -np.inf) if careful_below is None else careful_below
        if len(rows) == 1:  # networks are called with 4 rows at least: copies cost less than padding every call
            copies = self.estimate(np.repeat(rows, 4, axis=0), precision, careful_below=np.repeat(limits, 4))
            if on_rows:
                on_rows(1)
            return copies.take(np.array([0]))

        known = self._phase(QUICK_PHASE, rows, precision, limits, on_rows=on_rows)
        log_px = known.log_px()
        # Hard rows are few in each block. Together they fill blocks of their own, which takes less time.
        where = np.flatnonzero(~known.is_certified | (log_px < limits))
        if len(where):
            found = self._phase(THOROUGH_PHASE, rows[where], precision, limits[where], known.take(where))
            known.put(where, found)
        return known.final()

    def estimate_fixed(self, rows: FloatArray, num_samples: int) -> Estimates:
        """Estimate log p(x) with a fixed number of decoder evaluations a row, as :meth:`estimate`."""
        samples = self._samples_per_member(num_samples)

        def work(block: slice) -> Estimates:
            pairs = zip(self._engines, self._inputs(rows[block]), strict=True)
            return ensemble_estimates([engine.estimate_fixed(inputs, samples) for engine, inputs in pairs])

        return Estimates.joined(map_blocks(work, len(rows), self.threads))

    def plain_log_px(self, rows: FloatArray, num_samples: int) -> FloatArray:
        """Estimate log p(x) with every sample from the encoder's proposal, nats in data units, shape (N,).

        The result is a smooth function of the networks' rounding errors, so machines, and onnxruntime and torch, can be
        compared. With fitted proposals it is not: rounding may change the choice of a start or a mode.
        """
        samples = self._samples_per_member(num_samples)

        def work(block: slice) -> Estimates:
            pairs = zip(self._engines, self._inputs(rows[block]), strict=True)
            return ensemble_estimates([engine.estimate_plain(inputs, samples) for engine, inputs in pairs])

        return Estimates.joined(map_blocks(work, len(rows), self.threads)).log_px

    def joint_mismatch(self, rows: FloatArray) -> float:
        """Return the largest relative difference of log p(x, z) between decoder and log_joint, on rows in data units.

        A large value means that the graphs are not parts of one model.
        """
        largest = [
            engine.joint_mismatch(member.features.encode(rows)).max()
            for member, engine in zip(self.members, self._engines, strict=True)
        ]
        return float(np.max(largest))  # NaN stays NaN

    def decide(
        self, rows: FloatArray, precision: Precision, thresholds: FloatArray, careful_below: FloatArray | None = None
    ) -> Decisions:
        """Estimate only the rows that are not clearly above their thresholds (N,), nats in data units.

        The cascade (:mod:`anomaly_vae.density.cascade`) ends a row after 16 or 64 samples only if it is above its
        threshold with high confidence. The other rows get what :meth:`estimate` gives them.
        """
        self.check_budget(precision.num_samples)
        # p(x) is at least p_1(x) / M: where the first member's share is above the threshold, so is the sum.
        shifted = thresholds + math.log(len(self.members))
        first = self.members[0].features

        def screen(block: slice) -> Screened:
            return self._engines[0].screen(first.encode(rows[block]), shifted[block])

        found = map_blocks(screen, len(rows), self.threads)
        log_px, spent = np.full(len(rows), np.inf), np.concatenate([np.empty(0, np.int64), *(s.spent for s in found)])
        remaining = np.flatnonzero(np.concatenate([np.empty(0, bool), *(s.remains for s in found)]))
        if len(remaining):
            limits = None if careful_below is None else careful_below[remaining]
            estimates = self.estimate(rows[remaining], precision, careful_below=limits)
            log_px[remaining] = estimates.log_px
            spent[remaining] += estimates.num_samples
        return Decisions(log_px, spent)

    def quick_fit(
        self, rows: FloatArray, near: Sequence[Float32Array] | None = None
    ) -> tuple[FloatArray, list[Float32Array]]:
        """Approximate log p(x) of rows (N, D) by quick fits alone, nats in data units, shape (N,).

        Its error is not known: the median is 0.1 to 0.3 nats on normal rows of four tables.

        Args:
            rows: Data units, NaN where a cell is missing.
            near: Where each member's modes may be, shapes (N, L), such as those of similar rows.

        Returns:
            log p(x), (N,), and each member's modes, (N, L).
        """

        def work(block: slice) -> list[tuple[FloatArray, Float32Array]]:
            starts = [None if near is None else near[m][block] for m in range(len(self.members))]
            parts = zip(self._engines, self._inputs(rows[block]), starts, strict=True)
            return [engine.quick_fit(inputs, start) for engine, inputs, start in parts]

        blocks = map_blocks(work, len(rows), self.threads)
        members = range(len(self.members))
        log_px = np.array([np.concatenate([np.empty(0), *(part[m][0] for part in blocks)]) for m in members])
        return log_mean_exp(log_px), [np.concatenate([part[m][1] for part in blocks]) for m in members]

    def posterior_samples(self, rows: FloatArray, num_points: int, *, thorough: bool = False) -> list[Samples]:
        """Return weighted samples of p(z|x) under each member; see :meth:`Engine.posterior_samples`.

        Args:
            rows: Data units, NaN where a cell is missing, at least one, shape (N, D).
            num_points: Points of each of the R scramblings.
            thorough: Whether to search with many starts.
        """

        def work(block: slice) -> list[Samples]:
            pairs = zip(self._engines, self._inputs(rows[block]), strict=True)
            return [engine.posterior_samples(inputs, num_points, thorough=thorough) for engine, inputs in pairs]

        parts = zip(*map_blocks(work, len(rows), self.threads), strict=True)
        return [
            Samples(
                z=np.concatenate([block.z for block in of_member]),
                log_weights=np.concatenate([block.log_weights for block in of_member]),
                estimates=Estimates.joined([block.estimates for block in of_member]),
            )
            for of_member in parts
        ]

    def encode(self, rows: FloatArray) -> FloatArray:
        """Return the means of q(z|x), (N, D) -> (N, L); the members' means are side by side."""
        width = sum(member.latent_dim for member in self.members)
        if not len(rows):
            return np.empty((0, width))
        means = [
            engine.encode(member.features.encode(rows)).loc.astype(np.float64)
            for member, engine in zip(self.members, self._engines, strict=True)
        ]
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

    def _phase(
        self,
        phase: Phase,
        rows: FloatArray,
        precision: Precision,
        careful_below: FloatArray,
        known: Partial | None = None,
        on_rows: Callable[[int], None] | None = None,
    ) -> Partial:
        """Run a phase in blocks; see :func:`~anomaly_vae.density.adaptive.run_phase`."""

        def work(block: slice) -> Partial:
            before = None if known is None else known.take(np.arange(block.start, block.stop))
            return run_phase(phase, self._engines, self._inputs(rows[block]), precision, careful_below[block], before)

        latent_dims = [member.latent_dim for member in self.members]
        return Partial.joined(map_blocks(work, len(rows), self.threads, on_rows), latent_dims)

    def _inputs(self, rows: FloatArray) -> list[Inputs]:
        """Return the rows in the model units of every member."""
        return [member.features.encode(rows) for member in self.members]

    def _samples_per_member(self, num_samples: int) -> int:
        return self.check_budget(num_samples) // len(self.members)
