r"""Early exits of the cascade: decide from a few samples that a row is normal. Pure functions.

An early exit never flags a row: every flagged row has had the full budget. So the flagged rows are a subset of those
that the full budget flags, and the bound on the false-positive rate still holds. An early exit may miss a flag, where
the first samples overestimate log p(x); tests/benchmarks/cascade.py counts how often.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.density.importance import Summary

__all__ = ["Decisions", "is_clearly_normal"]

# Nats, log(10^4). By Markov's inequality the mean weight exceeds 10^4 p(x) with probability at most 1e-4. That
# probability is chosen: a higher one ends more rows early and misses more flags.
_MARKOV_NATS = 4.0 * math.log(10.0)

# Standard errors between estimate and threshold. Chosen, not measured: fewer end more rows early and miss more flags.
# With 4, the decisions on ADBench tables are counted by tests/benchmarks/cascade.py.
_MIN_STANDARD_ERRORS = 4.0

# Samples below which the spread over the scramblings is not used. Chosen, not measured: at 16 samples every scrambling
# has a single one.
_MIN_SAMPLES_FOR_ERROR = 64


class Decisions(NamedTuple):
    """Rows compared with their thresholds, shape (N,) each.

    Attributes:
        log_px: Nats in data units; infinite for rows that are clearly above their thresholds.
        num_samples: Decoder evaluations spent.
    """

    log_px: FloatArray
    num_samples: NDArray[np.int64]


def is_clearly_normal(log_weights: FloatArray, summary: Summary, thresholds: FloatArray) -> NDArray[np.bool_]:
    r"""Return whether log p(x) is above the threshold t with high confidence, shape (N,).

    A row is clearly normal if one of these holds:

    - :math:`\mathrm{ELBO} - 4\,\mathrm{se} > t`, with se the standard error of the ELBO, a lower bound of log p(x);
    - :math:`\log \hat p - \log 10^4 > t` (Markov's inequality);
    - :math:`\log \hat p - 4\,\mathrm{se} > t`, with at least 64 samples and a valid standard error of log p.

    Args:
        log_weights: Nats, shape (N, R, n).
        summary: The summary of these weights.
        thresholds: Nats, in the same units, shape (N,).
    """
    flat = log_weights.reshape(len(log_weights), -1)
    num_samples = flat.shape[1]
    # Comparisons are False where all weights are zero or the error is not valid: the row stays.
    with np.errstate(invalid="ignore"):
        variance = np.square(flat - summary.elbo[:, None]).sum(axis=-1) / (num_samples - 1)
        normal = summary.elbo - _MIN_STANDARD_ERRORS * np.sqrt(variance / num_samples) > thresholds
        normal |= summary.log_px - _MARKOV_NATS > thresholds
        if num_samples >= _MIN_SAMPLES_FOR_ERROR:
            normal |= summary.log_px - _MIN_STANDARD_ERRORS * summary.std_error > thresholds
    return np.asarray(normal)
