"""Weighted samples of p(z|x) under one member, and the estimate of log p(x) that they give."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.density.estimates import Estimates

__all__ = ["Samples"]


class Samples(NamedTuple):
    """Samples for N rows.

    Attributes:
        z: Shape (N, S, L).
        log_weights: log p(x, z) - log q(z), nats in data units, shape (N, S).
        estimates: What their mean says of log p(x).
    """

    z: FloatArray
    log_weights: FloatArray
    estimates: Estimates

    def put(self, where: NDArray[np.intp], samples: Samples) -> None:
        """Write the samples of the rows at these indices."""
        self.z[where], self.log_weights[where] = samples.z, samples.log_weights
        self.estimates.put(where, samples.estimates)

    def take(self, chosen: NDArray[np.intp]) -> Samples:
        """Return the samples of some rows."""
        return Samples(self.z[chosen], self.log_weights[chosen], self.estimates.take(chosen))
