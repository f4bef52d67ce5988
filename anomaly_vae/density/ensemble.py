r"""Combine the members of an ensemble: the mean of their densities, from their estimates.

.. math:: p(x) = \frac1M \sum_m p_m(x)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.density.estimates import Estimates

__all__ = ["combined_error", "ensemble_estimates", "log_mean_exp", "shares_of"]

# A member with a smaller share of p(x) is left out of std_error, pareto_k and reliable. Chosen, not measured: an error
# of such a member changes log p(x) by about 0.01 nats for each nat.
_NEGLIGIBLE_SHARE = 0.01


def ensemble_estimates(members: Sequence[Estimates]) -> Estimates:
    """Return the ensemble's estimates from those of its members, all in data units.

    The members have different points, so their errors are independent. The ELBO is the logarithm of the
    mean of the members' exponentiated bounds. It is a bound on the ensemble's log p(x), and by Jensen's inequality at
    least the mean of the members' bounds.
    """
    if len(members) == 1:
        return members[0]
    log_px = np.array([member.log_px for member in members])
    total = log_mean_exp(log_px)
    shares, counts = shares_of(log_px, total)
    errors = np.array([member.std_error for member in members])
    num_samples = np.array([member.num_samples for member in members])
    effective = np.array([member.ess_ratio for member in members]) * num_samples
    pareto_k = np.array([member.pareto_k for member in members])
    spent = num_samples.sum(axis=0)
    return Estimates(
        log_px=total,
        elbo=np.minimum(log_mean_exp(np.array([member.elbo for member in members])), total),
        std_error=combined_error(shares * errors, counts),
        ess_ratio=1.0 / (np.square(shares) / effective).sum(axis=0) / spent,
        pareto_k=np.where(counts, pareto_k, -np.inf).max(axis=0),
        reliable=np.all(np.array([member.reliable for member in members]) | ~counts, axis=0),
        num_samples=spent,
    )


def shares_of(log_px: FloatArray, total: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return the members' shares of p(x), and whether they are large enough to count, (M, N), (N,) -> (M, N)."""
    shares = np.exp(log_px - total - math.log(len(log_px)))
    return shares, shares >= _NEGLIGIBLE_SHARE


def combined_error(errors: FloatArray, counts: NDArray[np.bool_]) -> FloatArray:
    """Return the standard error of the ensemble from the members' errors times their shares, (M, N) -> (N,)."""
    total = np.zeros(errors.shape[1])
    for error, counted in zip(errors, counts, strict=True):
        total += np.square(np.where(counted, error, 0.0))
    return np.sqrt(total)


def log_mean_exp(values: FloatArray) -> FloatArray:
    """Return the logarithm of the mean of exp(values) over members, (M, N) -> (N,)."""
    largest = values.max(axis=0)
    total = np.zeros_like(largest)
    for value in values:
        total += np.exp(value - largest)
    return np.asarray(largest + np.log(total) - math.log(len(values)))
