"""Starting points of the multi-start search for modes of p(z|x)."""

from __future__ import annotations

import numpy as np

from anomaly_vae.arrays import FloatArray, standard_normal_log_prob
from anomaly_vae.columns.likelihood import Likelihood
from anomaly_vae.density import tiles
from anomaly_vae.density.network import Network
from anomaly_vae.density.noise import Noise

__all__ = ["StartingPoints"]

# Points of each scrambling that are decoded: 64 from the prior and the same 64 made wider by the factor 1.25. With 16
# scramblings these are 2,048 points. Chosen, not measured: more points miss fewer modes, but every fitted row is
# compared with all of them.
_POINTS_PER_SCRAMBLING = 64
_WIDTH = 1.25

# Mean squared distance per latent dimension, in units of the prior's variance, below which two points count as the same
# start. Chosen, not measured: a smaller value may spend two starts on one mode, a larger one may pass over a mode.
_SAME_START = 0.3


class StartingPoints:
    """Points spread over the prior with their decoder outputs.

    They belong to the model, not to a row. They cost 2,048 decoder evaluations when the model is loaded, none later.
    """

    def __init__(self, network: Network, noise: Noise, likelihood: Likelihood) -> None:
        """Decode the points."""
        points = noise.values[:, :_POINTS_PER_SCRAMBLING].reshape(-1, noise.latent_dim).astype(np.float64)
        self._likelihood = likelihood
        self._z = np.concatenate([points, _WIDTH * points])
        self._params = tiles.decode(network, self._z)
        self._log_prior = standard_normal_log_prob(self._z)

    def best(self, x: FloatArray, mask: FloatArray, count: int) -> list[FloatArray]:
        """Return the best points of each row by p(x, z), far from each other, best first: ``count`` arrays (N, L).

        Args:
            x, mask: Rows in model units and which of their cells are present, shape (N, F).
            count: Points of each row.
        """
        chosen = np.empty((count, len(x), self._z.shape[1]))
        for i, (row, present) in enumerate(zip(x, mask, strict=True)):
            log_joint = self._likelihood.log_prob(row, present, self._params) + self._log_prior
            for k in range(count):
                chosen[k, i] = self._z[log_joint.argmax()]
                if k < count - 1:
                    distance = np.square(self._z - chosen[k, i]).sum(axis=-1)
                    log_joint[distance < _SAME_START * self._z.shape[1]] = -np.inf
        return list(chosen)
