"""Starting points of the search for modes."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.density import tiles
from anomaly_vae.density.noise import Noise
from anomaly_vae.density.sampler import Rows
from anomaly_vae.density.starts import StartingPoints
from anomaly_vae.training.noise import sobol_normal
from tests.support.exact_models import LinearNetwork
from tests.support.models import ALL, features_of, member_of, rows_of, vae_of
from tests.support.same_bits import assert_rows_stand_alone

NETWORK = LinearNetwork()
NOISE = Noise(sobol_normal(16, 64, 3, seed=0))
STARTS = StartingPoints(NETWORK, NOISE)
X = np.random.default_rng(3).normal(size=(5, 5)) * 2.0


def rows_at(loc, scale, x=X, mask=None):
    """Return rows whose encoder says N(loc, scale^2) in both dimensions."""
    x = x.astype(np.float32)
    shape = (len(x), 2)
    moments = (np.broadcast_to(np.float32(value), shape).copy() for value in (loc, scale))
    return Rows(x, np.ones_like(x) if mask is None else mask.astype(np.float32), *moments)


# No starting point is near the encoder's mean.
AWAY = rows_at(50.0, 0.1)


def log_joint(x, z):
    """Return log p(x, z) without its constants, (D,), (S, L) -> (S,)."""
    residual = x - z @ NETWORK.W.T - NETWORK.b
    return -0.5 * np.square(residual).sum(axis=-1) / NETWORK.noise**2 - 0.5 * np.square(z).sum(axis=-1)


def test_the_points_are_spread_over_the_prior_and_beyond():
    """Any first points are: they take turns over the scramblings, and each has a wider copy."""
    assert len(STARTS.z) >= 256
    assert np.unique(STARTS.z, axis=0).shape == STARTS.z.shape
    for count in (64, 256, len(STARTS.z)):
        z = STARTS.z[:count]
        assert np.abs(z.mean(axis=0)).max() < 0.2
        assert np.all((z.std(axis=0) > 0.9) & (z.std(axis=0) < 1.4))
    assert STARTS.z.std() > 1.05


@pytest.mark.parametrize("among", [64, 256])
def test_the_first_start_is_the_point_with_the_largest_density(among):
    (first,) = STARTS.best(AWAY, 1, among)
    np.testing.assert_array_equal(first, [STARTS.z[log_joint(x, STARTS.z[:among]).argmax()] for x in X])


@pytest.mark.parametrize("count", [2, 5])
def test_starts_are_far_from_each_other_and_ordered_by_density(count):
    """Two starts should not climb to one mode: a pair is never nearer than a third of a standard deviation."""
    starts = STARTS.best(AWAY, count, 256)
    assert starts.shape == (count, 5, 2)
    for i in range(5):
        density = log_joint(X[i], starts[:, i])
        assert np.all(np.diff(density) <= 1e-4)
        distance = np.sqrt(np.square(starts[:, None, i] - starts[None, :, i]).mean(axis=-1))
        assert distance[~np.eye(count, dtype=bool)].min() >= 1 / 3


def test_points_near_the_encoder_s_mean_are_passed_over():
    """The encoder's mean is a start of its own. The nearest other start is 3 standard deviations away or more."""
    loc = NETWORK.posterior_mean(X).astype(np.float32)
    scale = np.float32([0.4, 0.8])
    starts = STARTS.best(rows_at(loc, scale), 3, 256)
    assert np.sqrt(np.square((starts - loc) / scale).sum(axis=-1)).min() >= 3.0
    nearest = STARTS.best(rows_at(loc, 0.01 * scale), 3, 256)
    assert np.square((nearest - loc) / scale).sum(axis=-1).min() < 3.0, "with a narrow encoder they are other starts"


def test_missing_cells_have_no_say():
    """Without any cell, the best point is the nearest to the prior's mean."""
    (first,) = STARTS.best(rows_at(50.0, 0.1, mask=np.zeros_like(X)), 1, 256)
    z = STARTS.z[:256]
    np.testing.assert_array_equal(first, np.tile(z[np.square(z).sum(axis=-1).argmin()], (5, 1)))


def test_a_row_s_starts_do_not_depend_on_the_other_rows():
    """With graphs of all heads, and encoders that exclude some of the points."""
    vae = vae_of(*ALL, latent_dim=4)
    features = features_of(*ALL, vae=vae)
    network = member_of(vae, features).network
    starts = StartingPoints(network, Noise(sobol_normal(16, 64, 5, seed=0)))
    inputs = features.encode(rows_of(40, *ALL))
    x, mask = inputs.x.astype(np.float32), inputs.mask.astype(np.float32)
    rows = Rows(x, mask, *tiles.encode(network, x, mask))

    def call(chosen):
        return tuple(each for among in (64, 512) for each in starts.best(rows.take(chosen), 4, among))

    assert_rows_stand_alone(call, 40, steps=(1, 7))
