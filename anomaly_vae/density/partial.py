"""What is known of rows between the phases of the estimate of log p(x) (:mod:`anomaly_vae.density.adaptive`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.density.ensemble import ensemble_estimates, log_mean_exp
from anomaly_vae.density.estimates import Estimates
from anomaly_vae.density.network import Float32Array
from anomaly_vae.density.sampler import Mask

__all__ = ["Partial"]


class Partial(NamedTuple):
    """What is known of N rows after a phase; M members.

    Attributes:
        estimates: The estimates of each member.
        elbo: The members' ELBOs, nats in data units, shape (M, N).
        spent: Decoder evaluations of each member, shape (M, N).
        is_certified: Rows whose error is certified, shape (N,).
        modes: The best mode of p(z|x) that each member's fits have found, shapes (N, L).
    """

    estimates: tuple[Estimates, ...]
    elbo: FloatArray
    spent: NDArray[np.int64]
    is_certified: Mask
    modes: tuple[Float32Array, ...]

    def take(self, chosen: NDArray[np.intp]) -> Partial:
        """Return what is known of some rows."""
        estimates = tuple(each.take(chosen) for each in self.estimates)
        modes = tuple(each[chosen] for each in self.modes)
        return Partial(estimates, self.elbo[:, chosen], self.spent[:, chosen], self.is_certified[chosen], modes)

    def log_px(self) -> FloatArray:
        """Return the ensemble's log p(x), nats in data units, shape (N,)."""
        return log_mean_exp(np.array([each.log_px for each in self.estimates]))

    def put(self, where: NDArray[np.intp], partial: Partial) -> None:
        """Write what is known of the rows at these indices."""
        for m, (mine, new) in enumerate(zip(self.estimates, partial.estimates, strict=True)):
            mine.put(where, new)
            self.modes[m][where] = partial.modes[m]
        self.elbo[:, where], self.spent[:, where] = partial.elbo, partial.spent
        self.is_certified[where] = partial.is_certified

    @classmethod
    def joined(cls, parts: Sequence[Partial], latent_dims: Sequence[int]) -> Partial:
        """Return what is known of the rows of all parts, which may be none, under members of these sizes."""
        none = np.empty((len(latent_dims), 0))
        return cls(
            estimates=tuple(Estimates.joined([part.estimates[m] for part in parts]) for m in range(len(latent_dims))),
            elbo=np.concatenate([none, *(part.elbo for part in parts)], axis=1),
            spent=np.concatenate([none.astype(np.int64), *(part.spent for part in parts)], axis=1),
            is_certified=np.concatenate([np.empty(0, bool), *(part.is_certified for part in parts)]),
            modes=tuple(
                np.concatenate([np.empty((0, size), np.float32), *(part.modes[m] for part in parts)])
                for m, size in enumerate(latent_dims)
            ),
        )

    def final(self) -> Estimates:
        """Return the ensemble's estimates."""
        combined = ensemble_estimates(self.estimates)
        # The ELBO has 16 samples, so its error may bring it above log p(x), which bounds it.
        bounds = [np.minimum(elbo, each.log_px) for elbo, each in zip(self.elbo, self.estimates, strict=True)]
        elbo = np.minimum(log_mean_exp(np.array(bounds)), combined.log_px)
        spent = np.zeros(self.spent.shape[1], dtype=np.int64)
        for each in self.spent:
            spent += each
        return combined._replace(elbo=elbo, num_samples=spent)
