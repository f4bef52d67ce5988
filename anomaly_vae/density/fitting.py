"""Fit a proposal to each row: search modes of p(z|x) from several starts, then build a mixture around them."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from anomaly_vae.columns.likelihood import Likelihood
from anomaly_vae.density import tiles
from anomaly_vae.density.modes import Modes, find_modes
from anomaly_vae.density.network import Network
from anomaly_vae.density.noise import Noise
from anomaly_vae.density.proposals import Mixture, fit_mixture
from anomaly_vae.density.sampler import EncoderSampler
from anomaly_vae.density.starts import StartingPoints

__all__ = ["FitPlan", "ProposalFitter", "plan_fit"]

# (starting points, Gauss-Newton steps), the most thorough first. Measured on four ADBench tables: large errors come
# from missed modes, not from too few steps. tests/benchmarks/accuracy.py measures errors against their cost.
_STRATEGIES = ((5, 4), (6, 3), (4, 3), (2, 4), (1, 6), (1, 4), (1, 3))

# Float64 numbers in the largest array of a fit, 16 MiB; it limits the rows that are fitted at once. Chosen, not
# measured: a larger value needs more memory, a smaller one makes more calls.
_MAX_ARRAY_NUMBERS = 2**21


class FitPlan(NamedTuple):
    """How a proposal is fitted to a row.

    Attributes:
        starts: Starting points.
        steps: Gauss-Newton steps from each.
        evaluations: Decoder evaluations of the whole fit.
    """

    starts: int
    steps: int
    evaluations: int

    def rows_at_once(self, num_features: int) -> int:
        """Return how many rows are fitted together, at least 1."""
        evaluations_per_step = self.evaluations // (self.steps + 1)
        return max(_MAX_ARRAY_NUMBERS // (evaluations_per_step * num_features), 1)


def plan_fit(latent_dim: int, num_samples: int, pilot_samples: int) -> FitPlan | None:
    """Return the most thorough fit within two fifths of the budget, else within half of it; None if neither exists.

    The half includes the pilot samples: at least half of the budget remains for the estimate. Both limits are chosen,
    not measured: a longer fit finds more modes and leaves fewer samples.

    Args:
        latent_dim: L.
        num_samples: Decoder evaluations a row, in all.
        pilot_samples: Those already spent.
    """
    plans = [FitPlan(starts, steps, starts * (steps + 1) * (latent_dim + 1)) for starts, steps in _STRATEGIES]
    possible = [plan for plan in plans if pilot_samples + plan.evaluations <= num_samples // 2]
    modest = [plan for plan in possible if plan.evaluations <= num_samples * 2 // 5]
    candidates = modest or possible
    return candidates[0] if candidates else None


class ProposalFitter:
    """Fits proposals under one model."""

    def __init__(self, network: Network, noise: Noise, likelihood: Likelihood) -> None:
        """Decode the starting points."""
        self._network, self._likelihood = network, likelihood
        self._starting_points = StartingPoints(network, noise, likelihood)

    def fit(self, pilot: EncoderSampler, plan: FitPlan) -> Mixture:
        """Fit a proposal to each row of the pilot.

        The first start of a row is its best pilot sample, the others are its best starting points.
        """
        rows = pilot.rows
        x, mask = rows.x.astype(np.float64), rows.mask.astype(np.float64)
        start = np.concatenate([pilot.best(), *self._starting_points.best(x, mask, plan.starts - 1)])
        x, mask = (np.tile(values, (plan.starts, 1)) for values in (x, mask))
        modes = find_modes(partial(tiles.decode, self._network), self._likelihood, x, mask, start, plan.steps)
        by_start = Modes(*(values.reshape(plan.starts, -1, *values.shape[1:]) for values in modes))
        return fit_mixture(by_start, rows.loc.astype(np.float64), rows.scale.astype(np.float64))
