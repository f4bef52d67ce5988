"""Transforms of one column against scipy and against numerical derivatives."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from anomaly_vae.columns.transforms import Standardise, YeoJohnson
from anomaly_vae.training.columns import standardise
from tests.support.models import BEND


@pytest.mark.parametrize("power", [0.0, 0.3, 1.0, 1.7, 2.0])
def test_yeo_johnson_is_scipys_and_has_an_inverse_and_a_slope(power):
    bend = YeoJohnson(power=power, origin=2.0, unit=1.5, center=0.1, scale=0.8)
    x = np.concatenate([np.linspace(-50.0, 60.0, 301), [2.0]])
    wanted = (stats.yeojohnson((x - 2.0) / 1.5, lmbda=power) - 0.1) / 0.8
    np.testing.assert_allclose(bend.forward(x), wanted, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(bend.inverse(bend.forward(x)), x, rtol=1e-9)
    slope = (bend.forward(x + 1e-6) - bend.forward(x - 1e-6)) / 2e-6
    np.testing.assert_allclose(bend.log_slope(x), np.log(slope), atol=1e-6)


def test_the_inverse_of_a_linear_transform():
    line = Standardise(center=5.0, scale=1e-6)
    x = np.random.default_rng(0).normal(size=20)
    np.testing.assert_allclose(line.inverse(line.forward(x)), x, rtol=1e-9)
    assert line.log_slope(x)[0] == pytest.approx(6 * np.log(10.0))
    assert BEND.log_slope(np.array([2.0]))[0] == pytest.approx(-np.log(1.5 * 0.8))


def test_standardising_inverts_and_has_the_jacobian_of_its_numerical_derivative():
    rng = np.random.default_rng(0)
    for unit, place in ((1e-6, 5.0), (1.0, 0.0), (1e6, -1e9)):
        x = rng.normal(size=50) * unit + place
        transform = standardise(x, "a")
        y = transform.forward(x)
        np.testing.assert_allclose([y.mean(), y.std()], [0, 1], atol=1e-6)
        np.testing.assert_allclose(transform.inverse(y), x, rtol=1e-12)
        step = x.std() * 1e-3
        numerical = (transform.forward(x + step) - y) / step
        np.testing.assert_allclose(transform.log_slope(x), np.log(numerical), rtol=1e-6)


@pytest.mark.parametrize("transform", [Standardise(center=0.0, scale=0.01), BEND])
def test_a_value_too_large_for_float64_becomes_infinite_without_a_warning(transform):
    """Warnings are errors in tests. The rows are clipped later."""
    got = transform.forward(np.array([1.7e308, -1.7e308]))
    assert got[0] > 1e90
    assert got[1] < -1e90
    assert not np.isnan(got).any()


def test_a_power_of_1_is_a_linear_transform():
    line = Standardise(center=2.0 + 1.5 * 0.1, scale=1.5 * 0.8)
    bend = YeoJohnson(power=1.0, origin=2.0, unit=1.5, center=0.1, scale=0.8)
    x = np.linspace(-9.0, 9.0, 31)
    np.testing.assert_allclose(bend.forward(x), line.forward(x), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(bend.log_slope(x), line.log_slope(x), rtol=1e-12)
