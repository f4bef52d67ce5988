r"""Can an importance estimate be trusted? Pareto k, and the one flag ``reliable`` made of it and the standard error.

What each figure means, and what to do about it:

========== ==================================== ==============================================================
figure     meaning                              when it is bad
========== ==================================== ==============================================================
std_error  scatter of log_px under other points above what you need: more samples (``num_samples``,
                                                ``max_std_error``); NaN: no error can be given, see reliable
ess_ratio  share of the samples that count      under 0.01: the proposal misses; the error is the figure to read
pareto_k   tail of the weights                  above the limit (0.7 at 2,154 samples and more): the estimate is
                                                too low more often than its error says; take it as a lower bound
reliable   all of the above at once             not reliable: the order of such rows among each other is uncertain;
                                                that they are far below the threshold is not
========== ==================================== ==============================================================
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.densities import FloatArray

__all__ = ["LARGEST_ERROR", "is_reliable", "pareto_k", "pareto_limit"]

# Nats: beyond, a logarithm is no longer linear over the error, which the standard error takes it to be.
LARGEST_ERROR = 0.5

_FEWEST_SAMPLES = 256
_NO_TAIL = 0.01

# Of Zhang & Stephens, and of Vehtari et al., who add the prior.
_PRIOR_SCALE, _GRID, _PRIOR_ROWS, _PRIOR_K = 3.0, 30, 10, 0.5

# Of the largest excess: keeps products of eight terms within float64.
_SMALLEST_QUARTILE = 1e-30


def pareto_k(log_weights: FloatArray) -> FloatArray:
    """Shape k of the generalised Pareto distribution fitted to the largest importance weights.

    With k < 0.5 the weights have a variance; up to about 0.7 the estimate's error is what it is said to be.

    Args:
        log_weights: Nats, shape (N, S).

    Returns:
        Shape (N,): 0 where the log-weights lie within 0.01 nats, else NaN with fewer than 256 samples.

    References:
        Pareto Smoothed Importance Sampling (Vehtari et al., 2024), https://jmlr.org/papers/v25/19-556.html;
        A New and Efficient Estimation Method for the Generalized Pareto Distribution (Zhang & Stephens, 2009)
    """
    num_rows, num_samples = log_weights.shape
    if num_rows == 0:
        return np.empty(0)
    with np.errstate(invalid="ignore"):  # weights of zero
        flat = log_weights.max(axis=-1) - log_weights.min(axis=-1) < _NO_TAIL
    if num_samples < _FEWEST_SAMPLES:
        return np.where(flat, 0.0, np.nan)
    size = math.ceil(min(0.2 * num_samples, 3.0 * math.sqrt(num_samples)))
    cut = num_samples - size - 1
    largest = np.sort(np.partition(log_weights, cut, axis=-1)[:, cut:], axis=-1)
    top = largest[:, -1]
    with np.errstate(all="ignore"):  # rows without a tail, or with weights of zero, give no k
        weights = np.exp(largest - top[:, None])
        k = _generalised_pareto_k(weights[:, 1:] - weights[:, :1])
    return np.where(flat, 0.0, k)


def pareto_limit(num_samples: NDArray[np.int64]) -> FloatArray:
    """The largest Pareto k with which S samples suffice: min(0.7, 1 - 1 / log10 S), shape as given."""
    return np.asarray(np.minimum(0.7, 1.0 - 1.0 / np.log10(np.maximum(num_samples, 2))))


def is_reliable(std_error: FloatArray, k: FloatArray, num_samples: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether an estimate and its error can be taken at their word, shape (N,).

    It is so where the standard error is at most 0.5 nats and Pareto k within its limit for the number of samples behind
    the estimate; not where there are too few samples to tell.
    """
    with np.errstate(invalid="ignore"):
        return np.asarray((std_error <= LARGEST_ERROR) & (k <= pareto_limit(num_samples)))


def _generalised_pareto_k(excess: FloatArray) -> FloatArray:
    """The estimate of Zhang & Stephens from sorted excesses over the cut, (N, M) -> (N,)."""
    size = excess.shape[1]
    grid = _GRID + math.isqrt(size)
    largest = excess[:, -1:]
    quartile = np.maximum(excess[:, int(size / 4 + 0.5) - 1, None], largest * _SMALLEST_QUARTILE)
    b = (1.0 - np.sqrt(grid / (np.arange(1, grid + 1) - 0.5))) / (_PRIOR_SCALE * quartile) + 1.0 / largest
    k = _mean_log(b, excess)
    log_likelihood = size * (np.log(-b / k) - k - 1.0)
    weights = np.exp(log_likelihood - log_likelihood.max(axis=-1, keepdims=True))
    b_mean = (b * weights).sum(axis=-1, keepdims=True) / weights.sum(axis=-1, keepdims=True)
    k_mean = _mean_log(b_mean, excess)[:, 0]
    return np.asarray((size * k_mean + _PRIOR_ROWS * _PRIOR_K) / (size + _PRIOR_ROWS))


def _mean_log(b: FloatArray, excess: FloatArray) -> FloatArray:
    """Mean of log(1 - b x) over excesses x, (N, B), (N, M) -> (N, B): one logarithm for every eight of them.

    The excesses come first, for long inner loops, and are added up one by one, so that N does not change the bits.
    """
    padding = -excess.shape[1] % 8
    columns = np.ascontiguousarray(np.pad(excess, ((0, 0), (0, padding))).T)
    terms = columns[:, :, None] * b
    np.subtract(1.0, terms, out=terms)
    for _ in range(3):
        half = len(terms) // 2
        terms = terms[:half] * terms[half:]
    total = np.zeros_like(b)
    for term in np.log(terms):
        total += term
    return np.asarray(total / excess.shape[1])
