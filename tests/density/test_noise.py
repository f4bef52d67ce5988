"""The points behind the samples of every row."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2, kstest, norm, t

from anomaly_vae.density.noise import FREEDOM, Noise
from anomaly_vae.training.noise import sobol_normal

# The last coordinate makes the radii.
VALUES = sobol_normal(4, 8, 4, seed=0)


def test_a_slice_has_the_same_points_of_every_scrambling_and_their_log_density():
    noise = Noise(VALUES)
    assert (noise.scramblings, noise.num_points, noise.latent_dim) == (4, 8, 3)
    points, log_density = noise.slice(2, 5)
    np.testing.assert_array_equal(points.reshape(4, 3, 3), VALUES[:, 2:5, :3])
    assert points.dtype == np.float32
    np.testing.assert_allclose(log_density, norm.logpdf(points.astype(np.float64)).sum(axis=-1), rtol=1e-12)


def test_slices_in_a_row_are_the_slice_of_the_whole():
    """A sampler that takes points in rounds must see each point once."""
    noise = Noise(VALUES)
    parts = [noise.slice(a, b)[0].reshape(4, -1, 3) for a, b in ((0, 1), (1, 4), (4, 8))]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), noise.slice(0, 8)[0].reshape(4, 8, 3))


def test_a_slice_is_computed_once():
    noise = Noise(VALUES)
    assert noise.slice(0, 4)[0] is noise.slice(0, 4)[0]


def test_members_have_different_points_with_the_first_dimensions_only():
    """Their errors are then independent. The members of an ensemble may have different numbers of latents."""
    noise = Noise(VALUES)
    for member, part in enumerate((slice(0, 4), slice(4, 8))):
        narrow = noise.of_member(member, 2, latent_dim=2)
        np.testing.assert_array_equal(narrow.values, VALUES[:, part, :2])
        np.testing.assert_array_equal(narrow.radii, noise.radii[:, part])
        assert narrow.values.flags.c_contiguous
        assert (narrow.num_points, narrow.latent_dim) == (4, 2)
        assert narrow.slice(0, 4)[0].shape == (16, 2)


def test_a_single_member_has_all_points():
    noise = Noise(VALUES)
    alone = noise.of_member(0, 1, latent_dim=3)
    np.testing.assert_array_equal(alone.values, noise.values)
    np.testing.assert_array_equal(alone.radii, noise.radii)


@pytest.mark.parametrize("member", range(4))
def test_the_points_of_every_member_are_as_evenly_spread_as_a_sobol_sequence(member):
    """In every coordinate, each of 64 equal slices of the normal distribution has one of a member's 64 points."""
    part = Noise(sobol_normal(2, 256, 4, seed=0)).of_member(member, 4, latent_dim=3)
    slices = np.floor(64 * norm.cdf(part.values.astype(np.float64))).astype(int)
    for scrambling in slices:
        for coordinate in scrambling.T:
            # float32 may move a point across the border of two slices.
            assert len(set(coordinate)) >= 63


def test_radii_follow_from_quantiles_of_chi_squared():
    """sqrt(nu / c) with c the quantile at the level of the last coordinate, also far out in both tails."""
    last = np.array([-6.0, -3.0, -1.0, 0.0, 0.5, 2.0, 4.0, 6.2])
    values = np.concatenate([np.zeros((8, 3)), last[:, None]], axis=1).astype(np.float32)[None]
    radii = Noise(values).radii
    expected = np.sqrt(FREEDOM / chi2(FREEDOM).isf(norm.sf(values[..., -1].astype(np.float64))))
    np.testing.assert_allclose(radii, expected, rtol=1e-6)
    assert radii.shape == (1, 8)
    assert np.all(np.diff(radii[0]) < 0.0)


@pytest.mark.parametrize("coordinate", [0, 2])
def test_points_times_radii_follow_student_s_t(coordinate):
    noise = Noise(sobol_normal(16, 256, 4, seed=0))
    values = (noise.values * noise.radii[:, :, None])[..., coordinate].ravel()
    assert kstest(values, t(FREEDOM).cdf).statistic < 0.01  # 4,096 random points have about 0.014
    assert kstest(values, norm.cdf).statistic > 0.03
