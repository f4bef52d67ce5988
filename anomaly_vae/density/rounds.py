"""Draw samples in rounds until the budget ends or the standard error is small enough."""

from __future__ import annotations

import numpy as np

from anomaly_vae.density.estimates import Estimates
from anomaly_vae.density.importance import Summary, summarise
from anomaly_vae.density.sampler import Sampler

__all__ = ["sample_and_estimate"]

# Points of every scrambling before the first check of the standard error. With 16 scramblings these are 256 samples,
# the fewest that have a Pareto k (see diagnostics).
_FIRST_CHECK_POINTS = 16


def sample_and_estimate(sampler: Sampler, points_per_scrambling: int, max_std_error: float | None) -> Estimates:
    """Estimate log p(x) of the sampler's rows, in nats of model units.

    Args:
        sampler: Its rows may have samples already; these count.
        points_per_scrambling: The budget: points of every scrambling at the end.
        max_std_error: Stop at a row when its standard error is at most this, nats. None spends the whole budget.
    """
    if max_std_error is None:
        sampler.extend(points_per_scrambling)
        weights, largest_term = sampler.log_weights()
        return Estimates.from_weights(weights, summarise(weights, largest_term))
    remaining = np.arange(sampler.num_rows)
    estimates = Estimates.empty(len(remaining))
    for num_points in _check_points(sampler.num_points, points_per_scrambling):
        sampler.extend(num_points)
        weights, largest_term = sampler.log_weights()
        summary = summarise(weights, largest_term)
        done = summary.std_error <= max_std_error  # False for NaN
        done |= num_points == points_per_scrambling
        if done.any():
            of_done = Summary(*(values[done] for values in summary))
            estimates.put(remaining[done], Estimates.from_weights(weights[done], of_done))
        remaining, sampler = remaining[~done], sampler.take(~done)
        if not len(remaining):
            break
    return estimates


def _check_points(num_points: int, points_per_scrambling: int) -> list[int]:
    """Return the numbers of points of each scrambling at which the error is checked: doubling, up to the budget."""
    first = max(num_points, _FIRST_CHECK_POINTS)
    doubled = (first << j for j in range(points_per_scrambling.bit_length()))
    return [*(n for n in doubled if n < points_per_scrambling), points_per_scrambling]
