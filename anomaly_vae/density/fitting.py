"""Fit a proposal to each row: search modes of p(z|x) from several starts, then build a mixture around them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.density.modes import Modes, find_modes, posterior_cost
from anomaly_vae.density.network import Network
from anomaly_vae.density.noise import Noise
from anomaly_vae.density.proposals import Mixture, distinct_modes, fit_mixture
from anomaly_vae.density.sampler import Rows
from anomaly_vae.density.shaping import shape_modes, shaping_cost
from anomaly_vae.density.starts import StartingPoints

__all__ = ["Effort", "Fit", "ProposalFitter"]


class Effort(NamedTuple):
    """How thorough a fit is.

    Attributes:
        best_starts: Starting points of each row that are chosen by p(x, z).
        among: The starting points that they are chosen from.
        race_steps: Newton steps from each start. Then the best ones go on; 0 if all do.
        finalists: Starts that go on after a race.
        steps: Most Newton steps after a race, or without one.
        most_modes: Modes of a proposal.
        most_shaped: Latent dimensions up to which the modes are shaped.
    """

    best_starts: int
    among: int
    race_steps: int
    finalists: int
    steps: int
    most_modes: int
    most_shaped: int


# The fits of every row, and of rows whose error is not certified with it or whose score is low. Chosen by coverage on
# 13 ADBench tables with default models: the stated 99.7 % interval holds for 99.0 % of all normal rows, and for 97.3 %
# of the reliable anomalies.
_QUICK = Effort(best_starts=0, among=64, race_steps=0, finalists=0, steps=5, most_modes=1, most_shaped=4)
_THOROUGH = Effort(best_starts=6, among=256, race_steps=1, finalists=3, steps=5, most_modes=3, most_shaped=64)


class Fit(NamedTuple):
    """Fitted proposals.

    Attributes:
        mixture: The proposals.
        evaluations: Decoder evaluations of each row's fit, shape (N,).
        log_evidence: The approximation of log p(x), nats in model units, shape (N,).
    """

    mixture: Mixture
    evaluations: NDArray[np.int64]
    log_evidence: FloatArray


class ProposalFitter:
    """Fits proposals under one model."""

    def __init__(self, network: Network, noise: Noise, extra_starts: int) -> None:
        """Decode the starting points; quick fits start from this many of them, next to the encoder's mean."""
        self._network = network
        self.quick = _QUICK._replace(best_starts=extra_starts, most_modes=1 + extra_starts)
        self.thorough = _THOROUGH
        self._starting_points = StartingPoints(network, noise)

    def most_evaluations(self, effort: Effort) -> int:
        """Return the most decoder evaluations of a fit."""
        latent_dim = self._starting_points.z.shape[1]
        starts = 1 + effort.best_starts
        race = starts * (1 + effort.race_steps) if effort.race_steps else 0
        last = (effort.finalists if effort.race_steps else starts) * (1 + effort.steps)
        return (race + last) * posterior_cost(latent_dim) + effort.most_modes * shaping_cost(latent_dim)

    def fit(self, rows: Rows, effort: Effort) -> Fit:
        """Fit a proposal to each row, from the encoder's mean and from starting points."""
        num_rows = len(rows.x)
        starts = [rows.loc[None].astype(np.float64)]
        if effort.best_starts:
            starts.append(self._starting_points.best(rows, effort.best_starts, effort.among))
        start = np.concatenate(starts)
        evaluations = np.zeros(num_rows, dtype=np.int64)
        if effort.race_steps:
            modes = self._search(rows, start, effort.race_steps, evaluations)
            # Several starts climb to one mode: the finalists are the best ones of different modes.
            start = distinct_modes(modes._replace(log_evidence=modes.log_joint), effort.finalists)[0].loc
        modes = self._search(rows, start, effort.steps, evaluations)
        chosen, present = distinct_modes(modes, effort.most_modes)
        if rows.loc.shape[1] <= effort.most_shaped:
            self._shape(rows, chosen, present, evaluations)
        mixture = fit_mixture(chosen, present, rows.loc.astype(np.float64), rows.scale.astype(np.float64))
        return Fit(mixture, evaluations, _log_evidence(chosen, present))

    def _search(self, rows: Rows, start: FloatArray, steps: int, evaluations: NDArray[np.int64]) -> Modes:
        """Search from starts (K, N, L); return modes with arrays (K, N, ...) and add the evaluations."""
        count, num_rows = start.shape[:2]
        x, mask = (np.tile(values, (count, 1)) for values in (rows.x, rows.mask))
        modes, spent = find_modes(self._network, x, mask, start.reshape(count * num_rows, -1), steps)
        evaluations += spent.reshape(count, num_rows).sum(axis=0) * posterior_cost(start.shape[2])
        return Modes(*(values.reshape(count, num_rows, *values.shape[1:]) for values in modes))

    def _shape(self, rows: Rows, modes: Modes, present: NDArray[np.bool_], evaluations: NDArray[np.int64]) -> None:
        """Shape the modes that rows have, (M, N, ...), in place."""
        for m, has in enumerate(present):
            where = np.flatnonzero(has)
            if len(where):
                of_rows = Modes(*(values[m][where] for values in modes))
                found = shape_modes(self._network, rows.x[where], rows.mask[where], of_rows)
                for values, new in zip(modes, found, strict=True):
                    values[m][where] = new
                evaluations[where] += shaping_cost(rows.loc.shape[1])


def _log_evidence(modes: Modes, present: NDArray[np.bool_]) -> FloatArray:
    """Return the logarithm of the summed evidence of the modes, (M, N, ...) -> (N,)."""
    evidence = np.where(present, modes.log_evidence, -np.inf)
    top = evidence.max(axis=0)
    total = np.zeros_like(top)
    for each in evidence:
        total += np.exp(each - top)
    return np.asarray(top + np.log(total))
