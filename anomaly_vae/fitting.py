"""Where the proposal of a row comes from: starting points, and the modes found from them."""

from __future__ import annotations

from functools import partial

import numpy as np

from anomaly_vae import tiles
from anomaly_vae.densities import LOG_2PI, FloatArray
from anomaly_vae.likelihood import Likelihood
from anomaly_vae.modes import Modes, find_modes
from anomaly_vae.proposals import FitPlan, Mixture, fit_mixture
from anomaly_vae.runtime import Network
from anomaly_vae.sampler import EncoderSampler, Noise

__all__ = ["Atlas", "fit_proposals"]

# The points of the atlas: so many of each scrambling from the prior, and as many from one this much wider.
_ATLAS_POINTS, _ATLAS_WIDTH = 64, 1.25

# Mean squared distance along a latent dimension from which on two points are far apart.
_FAR_APART = 0.3


class Atlas:
    """Decoder outputs at points spread over the prior: where to start for a row the encoder knows nothing of.

    It is the model's, not a row's: 2,048 decoder evaluations when the model is loaded, none afterwards.
    """

    def __init__(self, network: Network, noise: Noise, likelihood: Likelihood) -> None:
        """Decode the points."""
        near = noise.values[:, :_ATLAS_POINTS].reshape(-1, noise.latent_dim).astype(np.float64)
        self._likelihood = likelihood
        self._z = np.concatenate([near, _ATLAS_WIDTH * near])
        self._params = tiles.decode(network, self._z)
        self._log_prior = -0.5 * (LOG_2PI + self._z**2).sum(axis=-1)

    def best(self, x: FloatArray, mask: FloatArray, count: int) -> list[FloatArray]:
        """The point of each row with the largest p(x, z), the best of those far from it, and so on; (N, L) each."""
        found = np.empty((count, len(x), self._z.shape[1]))
        for i, (row, present) in enumerate(zip(x, mask, strict=True)):
            log_joint = self._likelihood.log_prob(row, present, self._params) + self._log_prior
            for k in range(count):
                found[k, i] = self._z[log_joint.argmax()]
                if k < count - 1:
                    distance = np.square(self._z - found[k, i]).sum(axis=-1)
                    log_joint[distance < _FAR_APART * self._z.shape[1]] = -np.inf
        return list(found)


def fit_proposals(
    network: Network, likelihood: Likelihood, atlas: Atlas, pilot: EncoderSampler, plan: FitPlan
) -> Mixture:
    """Fit a proposal to each row of the pilot: from its best sample, and from points of the atlas."""
    rows = pilot.rows
    x, mask = rows.x.astype(np.float64), rows.mask.astype(np.float64)
    start = np.concatenate([pilot.best(), *atlas.best(x, mask, plan.starts - 1)])
    x, mask = (np.tile(values, (plan.starts, 1)) for values in (x, mask))
    found = find_modes(partial(tiles.decode, network), likelihood, x, mask, start, plan.steps)
    modes = Modes(*(values.reshape(plan.starts, -1, *values.shape[1:]) for values in found))
    return fit_mixture(modes, rows.loc.astype(np.float64), rows.scale.astype(np.float64))
