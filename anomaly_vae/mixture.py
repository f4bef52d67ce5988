r"""Several models as one, the mixture of their densities in equal parts: pure functions of their estimates.

.. math:: p(x) = \frac1M \sum_m p_m(x)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from anomaly_vae.densities import FloatArray
from anomaly_vae.engine import Estimates

__all__ = ["log_mean_exp", "mixture_estimates"]

# A member with a smaller part in p(x) than this has no say in how far the estimate can be relied on.
_PART = 0.01


def mixture_estimates(members: Sequence[Estimates]) -> Estimates:
    """Estimates of the mixture from those of its members, all in data units.

    The members share their noise, so their errors are added up as if they always agreed. The ELBO is the logarithm of
    the mean of the members' bounds, by Jensen's inequality above the mean of the logarithms, and still a bound.
    """
    if len(members) == 1:
        return members[0]
    log_px = np.stack([member.log_px for member in members])
    total = log_mean_exp(log_px)
    parts = np.exp(log_px - total - math.log(len(members)))
    matters = parts >= _PART
    errors = np.stack([member.std_error for member in members])
    num_samples = np.stack([member.num_samples for member in members])
    effective = np.stack([member.ess_ratio for member in members]) * num_samples
    tails = np.stack([member.pareto_k for member in members])
    spent = num_samples.sum(axis=0)
    return Estimates(
        log_px=total,
        elbo=np.minimum(log_mean_exp(np.stack([member.elbo for member in members])), total),
        std_error=np.where(matters, parts * errors, 0.0).sum(axis=0),
        ess_ratio=1.0 / (np.square(parts) / effective).sum(axis=0) / spent,
        pareto_k=np.where(matters, tails, -np.inf).max(axis=0),
        reliable=np.all(np.stack([member.reliable for member in members]) | ~matters, axis=0),
        num_samples=spent,
    )


def log_mean_exp(values: FloatArray) -> FloatArray:
    """Logarithm of the mean of what these are the logarithms of, over members, (M, N) -> (N,)."""
    largest = values.max(axis=0)
    total = np.zeros_like(largest)
    for value in values:
        total += np.exp(value - largest)
    return np.asarray(largest + np.log(total) - math.log(len(values)))
