"""What one model of an ensemble computes for a block of rows: encodings, fitted proposals and samples."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.features import Inputs
from anomaly_vae.columns.likelihood import Likelihood
from anomaly_vae.density import tiles
from anomaly_vae.density.cascade import is_clearly_normal
from anomaly_vae.density.estimates import Estimates
from anomaly_vae.density.fitting import Effort, ProposalFitter
from anomaly_vae.density.importance import summarise
from anomaly_vae.density.network import Float32Array, Network
from anomaly_vae.density.noise import Noise
from anomaly_vae.density.prior import NORMAL, Prior
from anomaly_vae.density.proposals import Mixture
from anomaly_vae.density.sampler import EncoderSampler, Mask, MixtureSampler, Rows, Sampler
from anomaly_vae.density.samples import Samples

__all__ = ["FIRST_POINTS", "PILOT_POINTS", "Engine", "Screened", "estimates_of"]

# Points of every scrambling from the encoder's q(z|x) behind the ELBO: with 16 scramblings 16 samples. Chosen, not
# measured: more points give a smoother ELBO and cost time in every row.
PILOT_POINTS = 1

# Points of every scrambling, those of the ELBO included, at the first check of a row: 64 samples. Chosen, not measured:
# with fewer, hardly a row is certified.
FIRST_POINTS = 4

# Points of every scrambling after each round of the cascade: with 16 scramblings 16, then 64 samples. 95 to 98 % of the
# normal rows of four tables leave it at 16 samples (tests/benchmarks/cascade.py, "left at 16").
_SCREEN_POINTS = (1, 4)


class Screened(NamedTuple):
    """The outcome of :meth:`Engine.screen`, shape (N,).

    Attributes:
        remains: Rows that are not clearly above their thresholds.
        spent: Decoder evaluations of every row.
    """

    remains: Mask
    spent: NDArray[np.int64]


class Engine:
    """Computes with one model; calls from several threads are safe."""

    def __init__(
        self,
        network: Network,
        noise: Noise,
        likelihood: Likelihood,
        *,
        prior: Prior = NORMAL,
        adaptive: bool = True,
        extra_starts: int = 0,
    ) -> None:
        """Decode the starting points; without ``adaptive``, every sample comes from the encoder's proposal."""
        self._network, self._noise, self._likelihood = network, noise, likelihood
        self._prior = prior
        self.fitter = ProposalFitter(network, noise, extra_starts, prior) if adaptive else None

    @property
    def scramblings(self) -> int:
        """R, the samples of one point of every scrambling."""
        return int(self._noise.scramblings)

    @property
    def num_points(self) -> int:
        """Points of every scrambling in the noise."""
        return int(self._noise.num_points)

    def encode(self, inputs: Inputs) -> Rows:
        """Return the rows with the encoder's proposal."""
        x, mask = inputs.x.astype(np.float32), inputs.mask.astype(np.float32)
        return Rows(x, mask, *tiles.encode(self._network, x, mask))

    def encoder_sampler(self, rows: Rows) -> EncoderSampler:
        """Return a sampler of q(z|x)."""
        return EncoderSampler(self._network, self._noise, rows)

    def mixture_samplers(
        self, rows: Rows, mixture: Mixture, pilot: FloatArray, *, heavy: bool
    ) -> list[tuple[NDArray[np.intp], MixtureSampler]]:
        """Return samplers of proposals with the indices of their rows; rows with few modes are apart, for speed."""
        if mixture.share.shape[1] == 1:
            sampler = MixtureSampler(self._network, self._noise, rows, mixture, pilot, heavy=heavy)
            return [(np.arange(len(rows.x)), sampler)]
        number = mixture.num_modes
        samplers = []
        for least, most in ((1, 2), (3, mixture.share.shape[1])):
            where = np.flatnonzero((number >= least) & (number <= most))
            if len(where):
                part = mixture.take(where).with_modes(most)
                taken = rows.take(where)
                samplers.append(
                    (where, MixtureSampler(self._network, self._noise, taken, part, pilot[where], heavy=heavy))
                )
        return samplers

    def estimate_fixed(self, inputs: Inputs, num_samples: int) -> Estimates:
        """Estimate log p(x) with a fixed number of decoder evaluations a row, nats in data units.

        A proposal is fitted if the most thorough fit that may be needed takes at most half of them.
        """
        rows = self.encode(inputs)
        pilot = self.encoder_sampler(rows)
        effort = self.affordable_effort(num_samples)
        if effort is None or self.fitter is None:
            pilot.extend(num_samples // self.scramblings)
            return estimates_of(pilot).shifted(inputs.base)
        pilot.extend(PILOT_POINTS)
        points = (num_samples - self.fitter.most_evaluations(effort)) // self.scramblings
        fit = self.fitter.fit(rows, rows.loc, effort)
        estimates = Estimates.empty(len(rows.x))
        for where, sampler in self.mixture_samplers(rows, fit.mixture, pilot.log_joint(), heavy=True):
            sampler.extend(points)
            estimates.put(where, estimates_of(sampler))
        elbo = np.minimum(summarise(*pilot.log_weights()).elbo, estimates.log_px)
        used = fit.evaluations + points * self.scramblings
        return estimates._replace(elbo=elbo, num_samples=used).shifted(inputs.base)

    def estimate_plain(self, inputs: Inputs, num_samples: int) -> Estimates:
        """Estimate log p(x) with every sample from the encoder's proposal, nats in data units."""
        sampler = self.encoder_sampler(self.encode(inputs))
        sampler.extend(num_samples // self.scramblings)
        return estimates_of(sampler).shifted(inputs.base)

    def posterior_samples(self, inputs: Inputs, num_points: int, *, thorough: bool) -> Samples:
        """Return samples of a proposal fitted to p(z|x).

        Args:
            inputs: The rows.
            num_points: n, points of every scrambling.
            thorough: Whether to search with many starts.
        """
        if self.fitter is None:
            raise ValueError("this engine does not fit proposals")
        rows = self.encode(inputs)
        pilot = self.encoder_sampler(rows)
        pilot.extend(PILOT_POINTS)
        fit = self.fitter.fit(rows, rows.loc, self.fitter.thorough if thorough else self.fitter.quick)
        num_rows, count = len(rows.x), num_points * self.scramblings
        found = Samples(
            z=np.empty((num_rows, count, rows.loc.shape[1])),
            log_weights=np.empty((num_rows, count)),
            estimates=Estimates.empty(num_rows),
        )
        for where, sampler in self.mixture_samplers(rows, fit.mixture, pilot.log_joint(), heavy=thorough):
            sampler.extend(num_points)
            log_weights = sampler.log_weights()[0].reshape(len(where), count)
            found.put(where, Samples(sampler.samples(), log_weights, estimates_of(sampler)))
        return Samples(found.z, found.log_weights + inputs.base[:, None], found.estimates.shifted(inputs.base))

    def quick_fit(self, inputs: Inputs, near: Float32Array | None = None) -> tuple[FloatArray, Float32Array]:
        """Return what a quick fit without samples says of log p(x), nats in data units, (N,), and its modes (N, L).

        Args:
            inputs: The rows.
            near: Where modes may be, shape (N, L): the fit starts there if that is better than the encoder's mean.
        """
        if self.fitter is None:
            raise ValueError("this engine does not fit proposals")
        rows = self.encode(inputs)
        start = rows.loc
        if near is not None:
            log_joint = tiles.log_joint_at(self._network, rows.x, rows.mask, np.stack([start, near], axis=1))
            start = np.where((log_joint[:, 1] > log_joint[:, 0])[:, None], near, start)
        fit = self.fitter.fit(rows, start, self.fitter.quick)
        return fit.log_evidence + inputs.base, fit.mixture.loc[:, 0].astype(np.float32)

    def joint_mismatch(self, inputs: Inputs) -> FloatArray:
        """Compare log p(x, z) of the graphs with that of decoder and likelihood, at the encoder's means z.

        Returns:
            The largest absolute difference over max(1, absolute value), shape (N,).
        """
        rows = self.encode(inputs)
        z = rows.loc.astype(np.float64)
        params = tiles.decode(self._network, z)
        log_prior = self._prior.log_prob(z)
        log_likelihood = self._likelihood.log_prob(rows.x.astype(np.float64), inputs.mask, params)
        expected = log_likelihood + log_prior
        means = np.repeat(rows.loc[:, None, :], tiles.TILE_ROWS, axis=1)
        own = tiles.likelihood(self._network, rows.x, rows.mask, params.astype(np.float32))
        actual = np.stack(
            [
                tiles.log_joint_at(self._network, rows.x, rows.mask, means)[:, 0],
                tiles.posterior(self._network, rows.x, rows.mask, rows.loc).log_joint[:, 0],
                np.diagonal(own).astype(np.float64) + log_prior,
            ]
        )
        differences = np.abs(actual - expected) / np.maximum(1.0, np.abs(expected))
        return np.asarray(differences.max(axis=0))

    def screen(self, inputs: Inputs, thresholds: FloatArray) -> Screened:
        """Find the rows that are clearly above their thresholds, (N,), nats in data units."""
        spent = np.zeros(len(inputs.x), dtype=np.int64)
        remaining = np.arange(len(inputs.x))
        sampler = self.encoder_sampler(self.encode(inputs))
        for num_points in _SCREEN_POINTS:
            if num_points <= self.num_points and len(remaining):
                sampler.extend(num_points)
                spent[remaining] = num_points * self.scramblings
                weights, largest_term = sampler.log_weights()
                summary = summarise(weights, largest_term)
                above = is_clearly_normal(weights, summary, (thresholds - inputs.base)[remaining])
                remaining, sampler = remaining[~above], sampler.take(~above)
        remains = np.zeros(len(inputs.x), dtype=bool)
        remains[remaining] = True
        return Screened(remains, spent)

    def affords_quick_phase(self, num_samples: int) -> bool:
        """Return whether a budget is enough for a quick fit and the first samples of its proposal."""
        first = FIRST_POINTS * self.scramblings
        return self.fitter is not None and self.fitter.most_evaluations(self.fitter.quick) + first <= num_samples

    def most_evaluations(self, *, thorough: bool) -> int:
        """Return the most decoder evaluations of a fit; 0 without fits."""
        if self.fitter is None:
            return 0
        return self.fitter.most_evaluations(self.fitter.thorough if thorough else self.fitter.quick)

    def affordable_effort(self, num_samples: int) -> Effort | None:
        """Return the largest effort whose fits take at most half of the budget; None if there is none."""
        if self.fitter is not None:
            for effort in (self.fitter.thorough, self.fitter.quick):
                if 2 * self.fitter.most_evaluations(effort) <= num_samples:
                    return effort
        return None


def estimates_of(sampler: Sampler) -> Estimates:
    """Return the estimates from the samples so far, nats in model units."""
    weights, largest_term = sampler.log_weights()
    return Estimates.from_weights(weights, summarise(weights, largest_term))
