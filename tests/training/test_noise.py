"""The Sobol points are standard normal, and their scramblings independent."""

from __future__ import annotations

import numpy as np
from scipy.stats import kstest

from anomaly_vae.training.noise import sobol_normal


def test_sobol_points_are_standard_normal_finite_and_nested():
    points = sobol_normal(16, 256, 5, seed=0)
    assert points.shape == (16, 256, 5)
    assert points.dtype == np.float32
    assert np.isfinite(points).all()
    assert kstest(points[0, :, 3], "norm").statistic < 0.02  # 256 random points have about 0.05
    np.testing.assert_array_equal(sobol_normal(16, 64, 5, seed=0), points[:, :64])
    assert not np.array_equal(points[0], points[1])


def test_every_scrambling_is_unbiased_and_independent():
    """E exp((z1 + z2) / 2) = exp(1/4): the mean over scramblings is right, with an error far below Monte Carlo's."""
    means = np.exp(0.5 * sobol_normal(200, 64, 2, seed=1).astype(np.float64).sum(-1)).mean(-1)
    error = means.std(ddof=1) / np.sqrt(200)
    assert abs(means.mean() - np.exp(0.25)) < 4 * error
    assert error < 0.4 * np.sqrt((np.exp(1.0) - np.exp(0.5)) / (200 * 64))
