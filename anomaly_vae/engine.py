"""A block of rows through the rounds of sampling of one model: look, fit where it is needed, spend the budget."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae import tiles
from anomaly_vae.cascade import is_clearly_normal
from anomaly_vae.densities import LOG_2PI, FloatArray
from anomaly_vae.diagnostics import is_reliable, pareto_k
from anomaly_vae.features import Inputs
from anomaly_vae.fitting import Atlas, fit_proposals
from anomaly_vae.importance import Summary, summarise
from anomaly_vae.likelihood import Likelihood
from anomaly_vae.proposals import FitPlan, Mixture, plan_fit
from anomaly_vae.runtime import Network
from anomaly_vae.sampler import EncoderSampler, MixtureSampler, Noise, Rows, Sampler

__all__ = ["Engine", "Estimates", "Screened"]

# Points of every scrambling after the first looks at a row, from the encoder's proposal: 16 and 64 samples.
_LOOKS = (1, 4)

# Nats: the encoder's proposal is kept where the pilot's log-weights lie this close together. Not where their effective
# share is merely high: 64 samples do not see the tail of a proposal that is too narrow.
_EVEN = 0.05

# Rows whose fitted proposals are sampled side by side: their arrays stay in the cache.
_GROUP_ROWS = 8

# Fewest points of a scrambling after which an error that was asked for is looked at: 256 samples have a Pareto k.
_FIRST_ROUND = 16

# Numbers in the largest array of a fit: rows are fitted together as long as they are fewer.
_FIT_SIZE = 2**21


class Estimates(NamedTuple):
    """Estimates of log p(x), one entry a row, nats in data units.

    Attributes:
        log_px: Importance-sampled log p(x).
        elbo: Evidence lower bound under the encoder's own q(z|x).
        std_error: Standard error of ``log_px``; NaN where no error can be given.
        ess_ratio: Effective sample size over samples behind ``log_px``, in (0, 1].
        pareto_k: Shape of the weights' tail; NaN with fewer than 256 samples behind ``log_px``.
        reliable: Whether ``log_px`` and its error can be taken at their word.
        num_samples: Decoder evaluations spent.
    """

    log_px: FloatArray
    elbo: FloatArray
    std_error: FloatArray
    ess_ratio: FloatArray
    pareto_k: FloatArray
    reliable: NDArray[np.bool_]
    num_samples: NDArray[np.int64]

    def put(self, where: NDArray[np.intp], part: Estimates) -> None:
        """Write the estimates of some of the rows."""
        for values, new in zip(self, part, strict=True):
            values[where] = new

    def plus(self, base: FloatArray) -> Estimates:
        """With so many nats added, (N,)."""
        return self._replace(log_px=self.log_px + base, elbo=self.elbo + base)

    @classmethod
    def empty(cls, num_rows: int) -> Estimates:
        """Room for so many rows."""
        a, b, c, d, e = np.full((5, num_rows), np.nan)
        return cls(a, b, c, d, e, np.zeros(num_rows, dtype=bool), np.zeros(num_rows, dtype=np.int64))


class Screened(NamedTuple):
    """What is left of some rows after those that are clearly above a threshold have gone.

    Attributes:
        left: Indices of the rows that are left.
        estimates: Theirs, at the full budget.
        num_samples: Decoder evaluations spent on each of all the rows, shape (N,).
    """

    left: NDArray[np.intp]
    estimates: Estimates
    num_samples: NDArray[np.int64]


class Engine:
    """Estimates log p(x) of blocks of rows; calls from several threads are safe."""

    def __init__(self, network: Network, noise: Noise, likelihood: Likelihood, *, adaptive: bool) -> None:
        """Make ready; without ``adaptive``, every sample comes from the encoder's proposal."""
        self._network, self._noise, self._likelihood = network, noise, likelihood
        self._atlas = Atlas(network, noise, likelihood) if adaptive else None

    def estimate(self, inputs: Inputs, num_samples: int, max_std_error: float | None = None) -> Estimates:
        """log p(x) of rows, with at most so many decoder evaluations a row."""
        pilot = self._pilot(inputs)
        last = num_samples // self._noise.scramblings
        for num_points in _LOOKS[-1:] if self._network.any_tile else _LOOKS:
            if self._atlas and num_points < last:
                pilot.extend(num_points)
        return self._complete(pilot, num_samples, max_std_error).plus(inputs.base)

    def estimate_plainly(self, inputs: Inputs, num_samples: int) -> Estimates:
        """As :meth:`estimate`, with every sample from the encoder's proposal."""
        return _spend(self._pilot(inputs), num_samples // self._noise.scramblings, None).plus(inputs.base)

    def joint_mismatch(self, inputs: Inputs) -> FloatArray:
        """Difference of log p(x, z) at the encoder's means between log_joint and decoder, over max(1, |it|), (N,)."""
        rows = self._pilot(inputs).rows
        z = rows.loc.astype(np.float64)
        params = tiles.decode(self._network, z)
        log_likelihood = self._likelihood.log_prob(rows.x.astype(np.float64), inputs.mask, params)
        expected = log_likelihood - 0.5 * (LOG_2PI + z**2).sum(axis=-1)
        means = np.repeat(rows.loc[:, None, :], tiles.TILE_ROWS, axis=1)
        actual = tiles.log_joint_at(self._network, rows.x, rows.mask, means)[:, 0]
        return np.asarray(np.abs(actual - expected) / np.maximum(1.0, np.abs(expected)))

    def screen(self, inputs: Inputs, num_samples: int, thresholds: FloatArray) -> Screened:
        """Estimate the rows that are not clearly above their thresholds (N,), nats in data units, early on."""
        spent = np.zeros(len(inputs.x), dtype=np.int64)
        left = np.arange(len(inputs.x))
        pilot = self._pilot(inputs)
        last = num_samples // self._noise.scramblings
        for num_points in _LOOKS:
            if num_points < last and len(left):
                pilot.extend(num_points)
                spent[left] = num_points * self._noise.scramblings
                weights, largest = pilot.log_weights()
                above = is_clearly_normal(weights, summarise(weights, largest), (thresholds - inputs.base)[left])
                left, pilot = left[~above], pilot.take(~above)
        if not len(left):
            return Screened(left, Estimates.empty(0), spent)
        full = self._complete(pilot, num_samples, None)
        spent[left] = full.num_samples
        return Screened(left, full.plus(inputs.base[left]), spent)

    def encode(self, inputs: Inputs) -> FloatArray:
        """Means of q(z|x), (N, L)."""
        return self._pilot(inputs).rows.loc.astype(np.float64)

    def _pilot(self, inputs: Inputs) -> EncoderSampler:
        x, mask = inputs.x.astype(np.float32), inputs.mask.astype(np.float32)
        return EncoderSampler(self._network, self._noise, Rows(x, mask, *tiles.encode(self._network, x, mask)))

    def _complete(self, pilot: EncoderSampler, num_samples: int, max_std_error: float | None) -> Estimates:
        """Spend the rest of the budget on rows that have had their pilot."""
        last = num_samples // self._noise.scramblings
        plan = None
        if self._atlas and pilot.num_points == _LOOKS[-1]:
            plan = plan_fit(self._noise.latent_dim, num_samples, pilot.num_points * self._noise.scramblings)
        if plan is None or self._atlas is None:
            return _spend(pilot, last, max_std_error)
        out = Estimates.empty(len(pilot.rows.x))
        weights = pilot.log_weights()[0].reshape(pilot.num_rows, -1)
        misled = ~(weights.max(axis=-1) - weights.min(axis=-1) <= _EVEN)  # also where all are zero
        kept, fitted = np.flatnonzero(~misled), np.flatnonzero(misled)
        if len(kept):
            out.put(kept, _spend(pilot.take(kept), last, max_std_error))
        together = max(_FIT_SIZE // (plan.evaluations // (plan.steps + 1) * pilot.rows.x.shape[1]), 1)
        for start in range(0, len(fitted), together):
            group = fitted[start : start + together]
            looked = pilot.take(group)
            mixture = fit_proposals(self._network, self._likelihood, self._atlas, looked, plan)
            out.put(group, self._spend_fitted(looked, mixture, plan, num_samples, max_std_error))
        return out

    def _spend_fitted(
        self, pilot: EncoderSampler, mixture: Mixture, plan: FitPlan, num_samples: int, max_std_error: float | None
    ) -> Estimates:
        """Sample from fitted proposals with what pilot and fit have left of the budget."""
        before = pilot.num_points * self._noise.scramblings + plan.evaluations
        last = (num_samples - before) // self._noise.scramblings
        out = Estimates.empty(pilot.num_rows)
        for start in range(0, pilot.num_rows, _GROUP_ROWS):
            group = np.arange(start, min(start + _GROUP_ROWS, pilot.num_rows))
            sampler = MixtureSampler(self._network, self._noise, pilot.rows.take(group), mixture.take(group))
            out.put(group, _spend(sampler, last, max_std_error))
        elbo = np.minimum(summarise(*pilot.log_weights()).elbo, out.log_px)  # it is a bound, up to its 64 samples
        return out._replace(elbo=elbo, num_samples=out.num_samples + before)


def _spend(sampler: Sampler, last: int, max_std_error: float | None) -> Estimates:
    """Sample until the budget ends, or a row's error is what was asked for."""
    if max_std_error is None:
        sampler.extend(last)
        weights, largest = sampler.log_weights()
        return _estimates(weights, summarise(weights, largest))
    left = np.arange(sampler.num_rows)
    out = Estimates.empty(len(left))
    for num_points in _rounds(sampler.num_points, last):
        sampler.extend(num_points)
        weights, largest = sampler.log_weights()
        summary = summarise(weights, largest)
        done = summary.std_error <= max_std_error  # False for NaN
        done |= num_points == last
        if done.any():
            out.put(left[done], _estimates(weights[done], Summary(*(values[done] for values in summary))))
        left, sampler = left[~done], sampler.take(~done)
        if not len(left):
            break
    return out


def _rounds(num_points: int, last: int) -> list[int]:
    """After how many points of each scrambling to look at the error."""
    first = max(num_points, _FIRST_ROUND)
    return [*(n for n in (first << j for j in range(last.bit_length())) if n < last), last]


def _estimates(weights: FloatArray, summary: Summary) -> Estimates:
    flat = weights.reshape(len(weights), -1)
    num_samples = np.full(len(flat), flat.shape[1], dtype=np.int64)
    k = pareto_k(flat)
    reliable = is_reliable(summary.std_error, k, num_samples)
    return Estimates(*summary, pareto_k=k, reliable=reliable, num_samples=num_samples)
