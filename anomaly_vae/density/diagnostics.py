r"""Can an importance estimate be trusted? Pareto k, and the flag ``reliable`` from Pareto k and the standard error.

What each number means, and what to do about it:

========== ==================================== ==============================================================
number     meaning                              when it is bad
========== ==================================== ==============================================================
std_error  scatter of log_px under other points larger than you need: take more samples (``num_samples``,
                                                ``max_std_error``); NaN: there is no valid error, see reliable
ess_ratio  effective share of the samples       under 0.01: the proposal misses the mass of p(z|x); read std_error
pareto_k   tail of the weights                  above 0.7: log_px is too low more often than std_error says; use it
                                                as a lower bound
reliable   std_error and pareto_k are both good False: such rows cannot be ranked among each other, but they can
                                                be compared with a threshold that is far away
========== ==================================== ==============================================================
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray

__all__ = ["has_light_tail", "is_reliable", "pareto_k"]

# Largest standard error of a reliable estimate, nats. The standard error linearises the logarithm, which fails for
# larger errors. Chosen, not measured: a smaller limit calls fewer rows reliable.
_MAX_RELIABLE_ERROR = 0.5

# Pareto k of a tail up to which errors can be trusted, from many samples (Vehtari et al., 2024).
_MAX_K = 0.7

# Fewest samples for which k is estimated: 64 give a tail of 13 weights, 256 one of 48. Chosen, not measured: smaller
# tails give a noisier k. The prior on k is worth 10 weights.
_MIN_SAMPLES = 64

# Nats. Log-weights within this range have no tail, and k is 0. Chosen, not measured: such weights differ by 1 % at
# most.
_NO_TAIL_NATS = 0.01

# Constants of the estimators in the papers: prior scale and least grid size (Zhang & Stephens, 2009); weight, in
# observations, and value of the prior on k (Vehtari et al., 2024).
_PRIOR_SCALE, _GRID = 3.0, 30
_PRIOR_OBSERVATIONS, _PRIOR_K = 10, 0.5

# Smallest quartile as a share of the largest excess: products of eight terms then stay within the range of float64.
_MIN_QUARTILE = 1e-30


def pareto_k(log_weights: FloatArray) -> FloatArray:
    """Return the shape k of the generalised Pareto distribution fitted to the largest importance weights.

    With k < 0.5 the weights have a finite variance. Up to about 0.7 the standard error can be trusted.

    Args:
        log_weights: Nats, shape (N, S).

    Returns:
        Shape (N,): 0 where the log-weights lie within 0.01 nats, else NaN with fewer than 64 samples.

    References:
        Pareto Smoothed Importance Sampling (Vehtari et al., 2024), https://jmlr.org/papers/v25/19-556.html;
        A New and Efficient Estimation Method for the Generalized Pareto Distribution (Zhang & Stephens, 2009)
    """
    num_rows, num_samples = log_weights.shape
    if num_rows == 0:
        return np.empty(0)
    with np.errstate(invalid="ignore"):  # all weights are zero
        flat = log_weights.max(axis=-1) - log_weights.min(axis=-1) < _NO_TAIL_NATS
    if num_samples < _MIN_SAMPLES:
        return np.where(flat, 0.0, np.nan)
    size = int(_tail_size(np.asarray(num_samples)))
    cut = num_samples - size - 1
    largest = np.sort(log_weights, axis=-1)[:, cut:]
    top = largest[:, -1]
    with np.errstate(all="ignore"):  # rows without a tail, or with weights of zero, give no k
        weights = np.exp(largest - top[:, None])
        k = _generalised_pareto_k(weights[:, 1:] - weights[:, :1])
    return np.where(flat, 0.0, k)


def is_reliable(std_error: FloatArray, k: FloatArray, num_samples: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return whether an estimate and its error can be trusted, shape (N,).

    True where the standard error is at most 0.5 nats and the tail of the weights is light. False where either is NaN.
    """
    with np.errstate(invalid="ignore"):
        return np.asarray((std_error <= _MAX_RELIABLE_ERROR) & has_light_tail(k, num_samples))


def has_light_tail(k: FloatArray, num_samples: NDArray[np.int64]) -> NDArray[np.bool_]:
    r"""Return whether Pareto k is not significantly above 0.7, shape (N,); False for NaN.

    An estimate from a tail of M weights has a standard error of about :math:`(1 + k) / \sqrt M`, which the prior on k
    shrinks (Zhang & Stephens, 2009).
    """
    size = _tail_size(num_samples)
    error = (1.0 + _MAX_K) * np.sqrt(size) / (size + _PRIOR_OBSERVATIONS)
    with np.errstate(invalid="ignore"):
        return np.asarray(k <= _MAX_K + error)


def _tail_size(num_samples: NDArray[np.int64]) -> FloatArray:
    """Return the number of the largest weights that give k."""
    return np.asarray(np.ceil(np.minimum(0.2 * num_samples, 3.0 * np.sqrt(num_samples))))


def _generalised_pareto_k(excess: FloatArray) -> FloatArray:
    """Return the estimate of Zhang & Stephens from sorted excesses over the cut, (N, M) -> (N,)."""
    size = excess.shape[1]
    grid = _GRID + math.isqrt(size)
    largest = excess[:, -1:]
    quartile = np.maximum(excess[:, int(size / 4 + 0.5) - 1, None], largest * _MIN_QUARTILE)
    b = (1.0 - np.sqrt(grid / (np.arange(1, grid + 1) - 0.5))) / (_PRIOR_SCALE * quartile) + 1.0 / largest
    k = _mean_log(b, excess)
    log_likelihood = size * (np.log(-b / k) - k - 1.0)
    weights = np.exp(log_likelihood - log_likelihood.max(axis=-1, keepdims=True))
    b_mean = (b * weights).sum(axis=-1, keepdims=True) / weights.sum(axis=-1, keepdims=True)
    k_mean = _mean_log(b_mean, excess)[:, 0]
    return np.asarray((size * k_mean + _PRIOR_OBSERVATIONS * _PRIOR_K) / (size + _PRIOR_OBSERVATIONS))


def _mean_log(b: FloatArray, excess: FloatArray) -> FloatArray:
    """Return the mean of log(1 - b x) over excesses x, (N, B), (N, M) -> (N, B).

    Terms are multiplied in groups of eight, and each group takes one logarithm. The excesses are the first axis, for
    long inner loops. They are added one by one, so that the bits do not depend on N.
    """
    columns = np.zeros((excess.shape[1] + -excess.shape[1] % 8, len(excess)))
    columns[: excess.shape[1]] = excess.T
    terms = columns[:, :, None] * b
    np.subtract(1.0, terms, out=terms)
    for _ in range(3):
        half = len(terms) // 2
        terms = terms[:half] * terms[half:]
    total = np.zeros_like(b)
    for term in np.log(terms):
        total += term
    return np.asarray(total / excess.shape[1])
