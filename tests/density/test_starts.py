"""Starting points of the search for modes."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.density.noise import Noise
from anomaly_vae.density.starts import StartingPoints
from anomaly_vae.training.noise import sobol_normal
from tests.support.exact_models import LinearNetwork

NETWORK = LinearNetwork()
POINTS = sobol_normal(16, 64, 2, seed=0)
STARTS = StartingPoints(NETWORK, Noise(POINTS), NETWORK.likelihood)
X = np.random.default_rng(3).normal(size=(5, 5)) * 2.0


def log_joint(x, z):
    """Return log p(x, z) without its constants, (D,), (S, L) -> (S,)."""
    residual = x - z @ NETWORK.W.T - NETWORK.b
    return -0.5 * np.square(residual).sum(axis=-1) / NETWORK.noise**2 - 0.5 * np.square(z).sum(axis=-1)


def test_the_first_start_is_the_point_with_the_largest_density():
    """Of all points and of the same points at 1.25 times their distance from 0."""
    z = POINTS.reshape(-1, 2).astype(np.float64)
    z = np.concatenate([z, 1.25 * z])
    (first,) = STARTS.best(X, np.ones_like(X), 1)
    np.testing.assert_array_equal(first, [z[log_joint(x, z).argmax()] for x in X])


@pytest.mark.parametrize("count", [2, 5])
def test_starts_are_far_from_each_other_and_ordered_by_density(count):
    """The mean squared distance per latent is at least 0.3: two starts should not climb to one mode."""
    starts = np.stack(STARTS.best(X, np.ones_like(X), count))
    assert starts.shape == (count, 5, 2)
    for i in range(5):
        density = log_joint(X[i], starts[:, i])
        assert np.all(np.diff(density) <= 0.0)
        distance = np.square(starts[:, None, i] - starts[None, :, i]).mean(axis=-1)
        assert distance[~np.eye(count, dtype=bool)].min() >= 0.3


def test_missing_cells_have_no_say():
    """Without any cell, the best point is the nearest to the prior's mean."""
    (first,) = STARTS.best(X, np.zeros_like(X), 1)
    z = POINTS.reshape(-1, 2).astype(np.float64)
    np.testing.assert_array_equal(first, np.tile(z[np.square(z).sum(axis=-1).argmin()], (5, 1)))
