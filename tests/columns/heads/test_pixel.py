"""The head of pixels: the probability of a level under two logistic distributions."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from scipy import stats

from anomaly_vae.columns.heads import PixelHead
from anomaly_vae.columns.heads.pixel import PixelLikelihood, half_cell, least_scale
from tests.support.heads import assert_shares, draws, log_prob, slope_and_information
from tests.support.models import COLUMNS

LEVELS = np.arange(11.0)
HEAD = COLUMNS["pixel"][1].head
# Two locations, two raw log-scales and the logit of the first weight, in model units: the levels go from -1 to 1.
PARAMS = np.array([-0.4, 0.5, -1.5, -2.5, 0.7])
# A location below the range, one above it, the least scale, the largest one and an extreme weight.
OTHERS = [
    PARAMS,
    np.array([-2.0, 0.5, -2.0, -2.0, 0.0]),
    np.array([1.7, -0.3, -50.0, 3.0, -1.0]),
    np.array([0.1, 0.2, 5.0, -4.0, 1e3]),
]


def masses(params: np.ndarray, levels: int = 11) -> np.ndarray:
    """Return the probabilities of all levels from scipy's distribution functions."""
    ends = (2.0 * np.arange(1, levels) - 1.0) / (levels - 1) - 1.0
    total = np.zeros(levels)
    weight = 1.0 / (1.0 + math.exp(-min(max(params[4], -10.0), 10.0)))
    for loc, raw, share in zip(params[:2], params[2:4], (weight, 1.0 - weight), strict=True):
        law = stats.logistic(loc, 0.5 / (levels - 1) + math.exp(min(raw, math.log(2.0))))
        total += share * np.diff(np.concatenate([[0.0], law.cdf(ends), [1.0]]))
    return total


@pytest.mark.parametrize("params", OTHERS)
def test_the_probabilities_are_those_of_scipys_cells_and_add_up_to_one(params):
    got = np.exp(log_prob("pixel", LEVELS, params))
    np.testing.assert_allclose(got, masses(params), rtol=1e-7, atol=1e-12)
    assert got.sum() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("params", OTHERS)
def test_the_256_levels_of_a_byte_add_up_to_one(params):
    x = (2.0 * np.arange(256) / 255.0 - 1.0)[:, None]
    got = np.exp(PixelLikelihood([256]).log_prob(x, np.ones_like(x), params))
    np.testing.assert_allclose(got, masses(params, 256), rtol=1e-6, atol=1e-11)
    assert got.sum() == pytest.approx(1.0, abs=1e-12)


def test_values_outside_the_range_count_as_the_nearest_level():
    got = log_prob("pixel", np.array([-300.0, 0.0, 10.0, 1e9]), PARAMS)
    assert got[0] == got[1] != got[2] == got[3]


def test_far_from_both_locations_the_logarithm_falls_with_the_distance():
    """The probability itself is 0 in float64."""
    likelihood, one = PixelLikelihood([256]), np.ones((1, 1))
    near, far = (
        likelihood.log_prob(0.0 * one, one, np.array([loc, loc, -50.0, -50.0, 0.0]))[0] for loc in (10.0, 20.0)
    )
    assert near - far == pytest.approx(10.0 / least_scale(256), rel=1e-9)


def test_the_least_scale_is_a_quarter_of_a_cell():
    assert least_scale(256) == pytest.approx(0.25 * 2.0 / 255.0)
    assert least_scale(11) == 0.5 * half_cell(11)


def test_information_is_never_negative_and_small_for_outliers():
    x = np.linspace(-1.0, 1.0, 41)[:, None]
    likelihood, mask = PixelLikelihood([41]), np.ones((41, 1))
    params = np.array([-0.5, 0.4, -3.0, -3.0, 0.5])
    information = likelihood.information(x, mask, params)
    assert np.all(information >= 0.0)
    assert information[-1, 1] < 0.3 * information[:, 1].max()


def test_the_curvature_of_one_component_is_that_of_the_bound_of_its_two_sigmoids():
    """With nearly all the weight on one component; a bound that touches at the location has twice 1/4 / s^2."""
    x = np.array([5.0])
    params = np.array([0.0, 0.9, -1.0, -3.0, 50.0])
    _, information = slope_and_information("pixel", x, params)
    scale = 0.05 + math.exp(-1.0)
    expected = 2.0 * math.tanh(0.05 / scale) / (0.2 / scale) / scale**2
    assert information[0, 0] == pytest.approx(expected, rel=1e-3)
    assert information[0, 1] < 1e-2


def test_drawn_values_have_the_probabilities_that_are_scored():
    for params in OTHERS[:2]:
        assert_shares(draws("pixel", params), LEVELS, masses(params))


@pytest.mark.parametrize("params", OTHERS)
def test_the_center_is_the_mean_level(params):
    """The mean of 256 levels, which the integral of the distribution function gives up to their rounding."""
    center = PixelLikelihood([256]).center(params[None])
    assert center.shape == (1, 1)
    mean = masses(params, 256) @ (2.0 * np.arange(256) / 255.0 - 1.0)
    assert center[0, 0] == pytest.approx(mean, abs=5e-3)


def test_a_density_of_one_is_the_width_of_the_cell():
    assert HEAD.log_jacobian(COLUMNS["pixel"][1].transform) == 0.0
    assert HEAD.unit_log_density(COLUMNS["pixel"][1].transform) == pytest.approx(math.log(0.2))
    assert (HEAD.grid_step, HEAD.summary) == (1.0, "pixel")


@pytest.mark.parametrize("change", [{"levels": 1}, {"levels": 2**16 + 1}, {"step": 0.0}])
def test_a_record_with_levels_that_cannot_be_is_refused(change):
    data = msgspec.to_builtins(HEAD) | change
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(data, PixelHead)
