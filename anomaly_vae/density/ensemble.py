r"""Combine the members of an ensemble: the mean of their densities, from their estimates.

.. math:: p(x) = \frac1M \sum_m p_m(x)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.density.estimates import Estimates

__all__ = ["ensemble_estimates", "log_mean_exp"]

# A member with a smaller share of p(x) is left out of std_error, pareto_k and reliable. Chosen, not measured: an error
# of such a member changes log p(x) by about 0.01 nats for each nat.
_NEGLIGIBLE_SHARE = 0.01


def ensemble_estimates(members: Sequence[Estimates]) -> Estimates:
    """Return the ensemble's estimates from those of its members, all in data units.

    The members share their noise, so their errors are added as if fully correlated. The ELBO is the logarithm of the
    mean of the members' exponentiated bounds. It is a bound on the ensemble's log p(x), and by Jensen's inequality at
    least the mean of the members' bounds.
    """
    if len(members) == 1:
        return members[0]
    log_px = np.stack([member.log_px for member in members])
    total = log_mean_exp(log_px)
    shares = np.exp(log_px - total - math.log(len(members)))
    counts = shares >= _NEGLIGIBLE_SHARE
    errors = np.stack([member.std_error for member in members])
    num_samples = np.stack([member.num_samples for member in members])
    effective = np.stack([member.ess_ratio for member in members]) * num_samples
    pareto_k = np.stack([member.pareto_k for member in members])
    spent = num_samples.sum(axis=0)
    return Estimates(
        log_px=total,
        elbo=np.minimum(log_mean_exp(np.stack([member.elbo for member in members])), total),
        std_error=np.where(counts, shares * errors, 0.0).sum(axis=0),
        ess_ratio=1.0 / (np.square(shares) / effective).sum(axis=0) / spent,
        pareto_k=np.where(counts, pareto_k, -np.inf).max(axis=0),
        reliable=np.all(np.stack([member.reliable for member in members]) | ~counts, axis=0),
        num_samples=spent,
    )


def log_mean_exp(values: FloatArray) -> FloatArray:
    """Return the logarithm of the mean of exp(values) over members, (M, N) -> (N,)."""
    largest = values.max(axis=0)
    total = np.zeros_like(largest)
    for value in values:
        total += np.exp(value - largest)
    return np.asarray(largest + np.log(total) - math.log(len(values)))
