"""Estimate log p(x) of a block of rows under one model.

1. Pilot: 16, then 64 samples a row come from the encoder's q(z|x).
2. A row whose pilot log-weights are nearly equal keeps the encoder's proposal, and its pilot samples count.
3. Every other row gets a proposal of its own (:mod:`anomaly_vae.density.fitting`), if the budget is large enough for a
   fit. Its pilot samples chose that proposal, so they do not enter the estimate: reused samples would bias it.
4. The rest of the budget is sampled (:mod:`anomaly_vae.density.rounds`).

For flags alone, :meth:`Engine.screen` ends after a pilot round for rows that are clearly normal.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray, standard_normal_log_prob
from anomaly_vae.columns.features import Inputs
from anomaly_vae.columns.likelihood import Likelihood
from anomaly_vae.density import tiles
from anomaly_vae.density.cascade import is_clearly_normal
from anomaly_vae.density.estimates import Estimates
from anomaly_vae.density.fitting import FitPlan, ProposalFitter, plan_fit
from anomaly_vae.density.importance import summarise
from anomaly_vae.density.network import Network
from anomaly_vae.density.noise import Noise
from anomaly_vae.density.proposals import Mixture
from anomaly_vae.density.rounds import sample_and_estimate
from anomaly_vae.density.sampler import EncoderSampler, MixtureSampler, Rows

__all__ = ["Engine", "ScreenResult"]

# Points of every scrambling after each pilot round: with 16 scramblings 16, then 64 samples. 95 to 98 % of the normal
# rows of four tables leave the cascade at 16 samples (tests/benchmarks/cascade.py, "left at 16").
_PILOT_POINTS = (1, 4)

# Nats. The encoder's proposal is kept where the pilot log-weights lie within this range: an exact posterior gives equal
# weights up to float32 rounding. A high effective sample size is not enough, because 64 samples miss the tail of a
# proposal that is too narrow. Chosen, not measured: a larger value saves fits and accepts worse proposals.
_EVEN_SPREAD_NATS = 0.05

# Rows with fitted proposals that are sampled together. Chosen, not measured: few rows keep their arrays in the
# processor's cache, more rows would save calls.
_FITTED_ROWS_AT_ONCE = 8


class ScreenResult(NamedTuple):
    """The outcome of :meth:`Engine.screen`.

    Attributes:
        remaining: Indices of the rows that are not clearly above their thresholds, ascending.
        estimates: Estimates of these rows at the full budget.
        num_samples: Decoder evaluations spent on every row, shape (N,).
    """

    remaining: NDArray[np.intp]
    estimates: Estimates
    num_samples: NDArray[np.int64]


class Engine:
    """Estimates log p(x) of blocks of rows; calls from several threads are safe."""

    def __init__(self, network: Network, noise: Noise, likelihood: Likelihood, *, adaptive: bool) -> None:
        """Decode the starting points; without ``adaptive``, every sample comes from the encoder's proposal."""
        self._network, self._noise, self._likelihood = network, noise, likelihood
        self._fitter = ProposalFitter(network, noise, likelihood) if adaptive else None

    def estimate(self, inputs: Inputs, num_samples: int, max_std_error: float | None = None) -> Estimates:
        """Estimate log p(x) of rows with at most ``num_samples`` decoder evaluations a row."""
        pilot = self._encoder_sampler(inputs)
        points_per_scrambling = num_samples // self._noise.scramblings
        # A batch-invariant network gives the same bits in one call as in two: one call is faster.
        for num_points in _PILOT_POINTS[-1:] if self._network.batch_invariant else _PILOT_POINTS:
            if self._fitter and num_points < points_per_scrambling:
                pilot.extend(num_points)
        return self._complete(pilot, num_samples, max_std_error).shifted(inputs.base)

    def estimate_plain(self, inputs: Inputs, num_samples: int) -> Estimates:
        """Estimate log p(x) with every sample from the encoder's proposal."""
        points_per_scrambling = num_samples // self._noise.scramblings
        return sample_and_estimate(self._encoder_sampler(inputs), points_per_scrambling, None).shifted(inputs.base)

    def joint_mismatch(self, inputs: Inputs) -> FloatArray:
        """Compare log p(x, z) of log_joint with that of decoder and likelihood, at the encoder's means z.

        Returns:
            The absolute difference over max(1, absolute value), shape (N,).
        """
        rows = self._encoder_sampler(inputs).rows
        z = rows.loc.astype(np.float64)
        params = tiles.decode(self._network, z)
        log_likelihood = self._likelihood.log_prob(rows.x.astype(np.float64), inputs.mask, params)
        expected = log_likelihood + standard_normal_log_prob(z)
        means = np.repeat(rows.loc[:, None, :], tiles.TILE_ROWS, axis=1)
        actual = tiles.log_joint_at(self._network, rows.x, rows.mask, means)[:, 0]
        return np.asarray(np.abs(actual - expected) / np.maximum(1.0, np.abs(expected)))

    def screen(self, inputs: Inputs, num_samples: int, thresholds: FloatArray) -> ScreenResult:
        """Estimate at the full budget only the rows that are not clearly above their thresholds.

        Args:
            inputs: The rows.
            num_samples: Most decoder evaluations a row.
            thresholds: Nats in data units, shape (N,).
        """
        spent = np.zeros(len(inputs.x), dtype=np.int64)
        remaining = np.arange(len(inputs.x))
        pilot = self._encoder_sampler(inputs)
        points_per_scrambling = num_samples // self._noise.scramblings
        for num_points in _PILOT_POINTS:
            if num_points < points_per_scrambling and len(remaining):
                pilot.extend(num_points)
                spent[remaining] = num_points * self._noise.scramblings
                weights, largest_term = pilot.log_weights()
                summary = summarise(weights, largest_term)
                above = is_clearly_normal(weights, summary, (thresholds - inputs.base)[remaining])
                remaining, pilot = remaining[~above], pilot.take(~above)
        if not len(remaining):
            return ScreenResult(remaining, Estimates.empty(0), spent)
        estimates = self._complete(pilot, num_samples, None)
        spent[remaining] = estimates.num_samples
        return ScreenResult(remaining, estimates.shifted(inputs.base[remaining]), spent)

    def encode(self, inputs: Inputs) -> FloatArray:
        """Return the means of q(z|x), (N, L)."""
        return self._encoder_sampler(inputs).rows.loc.astype(np.float64)

    def _encoder_sampler(self, inputs: Inputs) -> EncoderSampler:
        x, mask = inputs.x.astype(np.float32), inputs.mask.astype(np.float32)
        return EncoderSampler(self._network, self._noise, Rows(x, mask, *tiles.encode(self._network, x, mask)))

    def _complete(self, pilot: EncoderSampler, num_samples: int, max_std_error: float | None) -> Estimates:
        """Spend the rest of the budget on rows that have had their pilot, nats in model units."""
        points_per_scrambling = num_samples // self._noise.scramblings
        plan = self._plan(pilot, num_samples)
        if plan is None or self._fitter is None:
            return sample_and_estimate(pilot, points_per_scrambling, max_std_error)
        estimates = Estimates.empty(pilot.num_rows)
        weights = pilot.log_weights()[0].reshape(pilot.num_rows, -1)
        spread = weights.max(axis=-1) - weights.min(axis=-1)
        needs_fit = ~(spread <= _EVEN_SPREAD_NATS)  # True for NaN, where all weights are zero
        kept, fitted = np.flatnonzero(~needs_fit), np.flatnonzero(needs_fit)
        if len(kept):
            estimates.put(kept, sample_and_estimate(pilot.take(kept), points_per_scrambling, max_std_error))
        step = plan.rows_at_once(pilot.rows.x.shape[1])
        for start in range(0, len(fitted), step):
            group = fitted[start : start + step]
            group_pilot = pilot.take(group)
            proposal = self._fitter.fit(group_pilot, plan)
            estimates.put(group, self._estimate_fitted(group_pilot, proposal, plan, num_samples, max_std_error))
        return estimates

    def _plan(self, pilot: EncoderSampler, num_samples: int) -> FitPlan | None:
        """Return how to fit proposals; None without a full pilot, or where the budget is too small for a fit."""
        if self._fitter is None or pilot.num_points != _PILOT_POINTS[-1]:
            return None
        return plan_fit(self._noise.latent_dim, num_samples, pilot.num_points * self._noise.scramblings)

    def _estimate_fitted(
        self, pilot: EncoderSampler, proposal: Mixture, plan: FitPlan, num_samples: int, max_std_error: float | None
    ) -> Estimates:
        """Sample from fitted proposals with the budget that remains after pilot and fit."""
        spent = pilot.num_points * self._noise.scramblings + plan.evaluations
        points_per_scrambling = (num_samples - spent) // self._noise.scramblings
        estimates = Estimates.empty(pilot.num_rows)
        for start in range(0, pilot.num_rows, _FITTED_ROWS_AT_ONCE):
            group = np.arange(start, min(start + _FITTED_ROWS_AT_ONCE, pilot.num_rows))
            sampler = MixtureSampler(self._network, self._noise, pilot.rows.take(group), proposal.take(group))
            estimates.put(group, sample_and_estimate(sampler, points_per_scrambling, max_std_error))
        # The pilot's ELBO has 64 samples, so its error may bring it above log p(x), which bounds it.
        elbo = np.minimum(summarise(*pilot.log_weights()).elbo, estimates.log_px)
        return estimates._replace(elbo=elbo, num_samples=estimates.num_samples + spent)
