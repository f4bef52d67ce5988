r"""Early exits that can only call a row normal: pure functions.

A row that leaves early is not flagged; every flagged row has had the full budget. So the flagged rows are among those
of the full budget, and the guarantee on false positives carries over. What can be lost is a flag, on a row whose first
samples say more than its whole budget will; tests/benchmarks counts how often.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.densities import FloatArray
from anomaly_vae.importance import Summary

__all__ = ["is_clearly_normal"]

# Markov's inequality: a mean weight exceeds 10^4 times its expectation p(x) with probability at most 1e-4.
_MARKOV = 4.0 * math.log(10.0)
_ERRORS = 4.0

# Fewest samples whose spread over the scramblings can be believed.
_FEWEST_FOR_ERROR = 64


def is_clearly_normal(log_weights: FloatArray, summary: Summary, thresholds: FloatArray) -> NDArray[np.bool_]:
    r"""Whether log p(x) is above its threshold beyond reasonable doubt, shape (N,).

    One of: :math:`\mathrm{ELBO} - 4\,\mathrm{se} > t`, for the ELBO is a lower bound;
    :math:`\log \hat p - \log 10^4 > t` (Markov); with 64 samples and more,
    :math:`\log \hat p - 4\,\mathrm{se} > t` where there is a valid error.

    Args:
        log_weights: Nats, shape (N, R, n).
        summary: Of those weights.
        thresholds: Nats, in the same units, shape (N,).
    """
    flat = log_weights.reshape(len(log_weights), -1)
    num_samples = flat.shape[1]
    with np.errstate(invalid="ignore"):  # weights of zero, or no valid error: the comparison is False, the row stays
        variance = np.square(flat - summary.elbo[:, None]).sum(axis=-1) / (num_samples - 1)
        normal = summary.elbo - _ERRORS * np.sqrt(variance / num_samples) > thresholds
        normal |= summary.log_px - _MARKOV > thresholds
        if num_samples >= _FEWEST_FOR_ERROR:
            normal |= summary.log_px - _ERRORS * summary.std_error > thresholds
    return np.asarray(normal)
