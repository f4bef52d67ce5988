"""Estimates of log p(x), one entry a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.density.diagnostics import is_reliable, pareto_k
from anomaly_vae.density.importance import Summary

__all__ = ["Estimates"]


class Estimates(NamedTuple):
    """Estimates of log p(x), one entry a row, nats in data units.

    Attributes:
        log_px: Importance-sampled log p(x).
        elbo: Evidence lower bound under the encoder's own q(z|x).
        std_error: Standard error of ``log_px``; NaN where there is no valid error.
        ess_ratio: Effective sample size over the number of samples behind ``log_px``, in (0, 1].
        pareto_k: Shape of the weights' tail; NaN with fewer than 64 samples behind ``log_px``.
        reliable: Whether ``log_px`` and its error can be trusted.
        num_samples: Decoder evaluations spent.
    """

    log_px: FloatArray
    elbo: FloatArray
    std_error: FloatArray
    ess_ratio: FloatArray
    pareto_k: FloatArray
    reliable: NDArray[np.bool_]
    num_samples: NDArray[np.int64]

    def take(self, chosen: NDArray[np.intp]) -> Estimates:
        """Return the estimates of some rows."""
        return Estimates(
            log_px=self.log_px[chosen],
            elbo=self.elbo[chosen],
            std_error=self.std_error[chosen],
            ess_ratio=self.ess_ratio[chosen],
            pareto_k=self.pareto_k[chosen],
            reliable=self.reliable[chosen],
            num_samples=self.num_samples[chosen],
        )

    def put(self, where: NDArray[np.intp], estimates: Estimates) -> None:
        """Write the estimates of the rows at these indices."""
        for values, new in zip(self, estimates, strict=True):
            values[where] = new

    def shifted(self, nats: FloatArray) -> Estimates:
        """Return the estimates with nats (N,) added to ``log_px`` and ``elbo``."""
        return self._replace(log_px=self.log_px + nats, elbo=self.elbo + nats)

    @classmethod
    def joined(cls, parts: Sequence[Estimates]) -> Estimates:
        """Return the estimates of all rows of the parts, which may be none."""
        return cls(*map(np.concatenate, zip(cls.empty(0), *parts, strict=True)))

    @classmethod
    def empty(cls, num_rows: int) -> Estimates:
        """Return estimates of NaN and zero, to be filled by :meth:`put`."""
        a, b, c, d, e = np.full((5, num_rows), np.nan)
        return cls(a, b, c, d, e, np.zeros(num_rows, dtype=bool), np.zeros(num_rows, dtype=np.int64))

    @classmethod
    def from_weights(cls, log_weights: FloatArray, summary: Summary) -> Estimates:
        """Add Pareto k and ``reliable`` to the summary of log-weights (N, R, n)."""
        flat = log_weights.reshape(len(log_weights), -1)
        num_samples = np.full(len(flat), flat.shape[1], dtype=np.int64)
        k = pareto_k(flat)
        reliable = is_reliable(summary.std_error, k, num_samples)
        return cls(*summary, pareto_k=k, reliable=reliable, num_samples=num_samples)
