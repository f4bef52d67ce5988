"""log I_0 and its derivatives against scipy."""

from __future__ import annotations

import numpy as np
from scipy.special import i0e, i1e

from anomaly_vae.columns.bessel import log_i0, ratio_and_bend

KAPPA = np.concatenate([np.linspace(0.0, 20.0, 5001), np.geomspace(20.0, 1e4, 2000)])


def test_log_i0_is_scipys():
    np.testing.assert_allclose(log_i0(KAPPA**2), KAPPA + np.log(i0e(KAPPA)), rtol=0.0, atol=3e-8)


def test_the_ratio_is_the_mean_resultant_length_over_kappa():
    """A = I_1 / I_0 is the mean of the cosine, and A / kappa is 1/2 at 0."""
    mean = i1e(KAPPA) / i0e(KAPPA)
    ratio, _ = ratio_and_bend(KAPPA**2)
    np.testing.assert_allclose(ratio * KAPPA, mean, rtol=0.0, atol=1e-7)
    np.testing.assert_allclose(ratio[0], 0.5, rtol=1e-6)


def test_ratio_and_bend_give_the_variance_of_the_cosine():
    """It is 1 - A / kappa - A^2, the second derivative of log I_0."""
    ratio, bend = ratio_and_bend(KAPPA**2)
    mean = i1e(KAPPA) / i0e(KAPPA)
    expected = 1.0 - np.where(KAPPA > 0.0, mean / np.maximum(KAPPA, 1e-300), 0.5) - mean**2
    np.testing.assert_allclose(ratio + bend * KAPPA**2, expected, rtol=0.0, atol=4e-7)


def test_ratio_and_bend_are_the_derivatives_by_the_square():
    square = np.linspace(0.1, 1000.0, 500)
    ratio, bend = ratio_and_bend(square)
    step = 1e-3
    np.testing.assert_allclose(ratio, (log_i0(square + step) - log_i0(square - step)) / step, rtol=1e-6)
    (up, _), (down, _) = ratio_and_bend(square + step), ratio_and_bend(square - step)
    np.testing.assert_allclose(bend, (up - down) / step, rtol=1e-5, atol=1e-9)
    assert np.all(bend < 0.0)
