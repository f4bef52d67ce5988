"""The von Mises head: angles."""

from __future__ import annotations

import math

import numpy as np
import pytest
from msgspec import structs
from scipy import stats

from anomaly_vae.columns.heads import VonMisesHead
from anomaly_vae.columns.heads.von_mises import VonMisesLikelihood
from tests.support.heads import (
    TWO,
    assert_information_is_the_mean_square_of_the_slope,
    draws,
    log_prob,
    slope_and_information,
)
from tests.support.models import COLUMNS, rows_of

PERIOD, LIMIT = 24.0, 100.0
HEAD = COLUMNS["cyclic"][1].head
GRID = np.arange(2000) * PERIOD / 2000
# Decoder outputs: two directions, a concentration near the limit, one far beyond it, and none.
PARAMS = [TWO, np.array([3.0, 4.0]), np.array([-70.0, 50.0]), np.array([0.0, -1e7]), np.zeros(2)]


def law(params: np.ndarray) -> stats.rv_continuous:
    """Return scipy's distribution of the angle."""
    length = math.hypot(*params)
    return stats.vonmises(length / math.hypot(1.0, length / LIMIT), loc=math.atan2(params[1], params[0]))


def data_log_prob(values: np.ndarray, params: np.ndarray) -> np.ndarray:
    return law(params).logpdf(2.0 * math.pi * values / PERIOD) + math.log(2.0 * math.pi / PERIOD)


@pytest.mark.parametrize("params", PARAMS, ids=str)
def test_the_density_is_scipys_in_data_units(params):
    values = rows_of(40, "cyclic")[:, 0]
    np.testing.assert_allclose(log_prob("cyclic", values, params), data_log_prob(values, params), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("params", PARAMS, ids=str)
def test_the_density_integrates_to_one_over_a_period(params):
    """The trapezoidal rule of a smooth periodic function is exact to rounding: what is left is the error of log I_0."""
    total = np.exp(log_prob("cyclic", GRID, params)).sum() * PERIOD / len(GRID)
    assert total == pytest.approx(1.0, abs=3e-8)


def test_whole_periods_change_nothing():
    values = rows_of(40, "cyclic")[:, 0]
    for periods in (-1, 1, 10_000):
        got = log_prob("cyclic", values + periods * PERIOD, PARAMS[2])
        np.testing.assert_allclose(got, log_prob("cyclic", values, PARAMS[2]), rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(log_prob("cyclic", np.array([0.0]), TWO), log_prob("cyclic", np.array([48.0]), TWO))


@pytest.mark.parametrize("params", PARAMS[:3], ids=str)
def test_the_information_is_the_mean_square_of_the_slope(params):
    """The diagonal of the Fisher information, through the shrinking of the decoder's output."""
    masses = np.exp(data_log_prob(GRID, params)) * PERIOD / len(GRID)
    assert_information_is_the_mean_square_of_the_slope("cyclic", GRID, masses, params)


@pytest.mark.parametrize("params", PARAMS, ids=str)
def test_the_information_is_never_negative(params):
    slope, information = slope_and_information("cyclic", GRID, params)
    assert np.all(information >= 0.0)
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("params", PARAMS[:4], ids=str)
def test_drawn_values_have_the_distribution_that_is_scored(params):
    """Compared as distances from the mean, between minus and plus half a period."""
    drawn = draws("cyclic", params)
    assert drawn.min() >= 0.0
    assert drawn.max() < PERIOD
    mean = math.atan2(params[1], params[0])
    angle = np.mod(2.0 * math.pi * drawn / PERIOD - mean + math.pi, 2.0 * math.pi) - math.pi
    centred = stats.vonmises(law(params).kwds.get("kappa", law(params).args[0]))
    assert stats.kstest(angle, centred.cdf).pvalue > 0.01


def test_columns_do_not_mix_and_a_missing_one_adds_nothing():
    likelihood = VonMisesLikelihood([100.0, 5.0])
    angles, params = np.array([1.0, 2.5]), np.array([1.0, -2.0, 3.0, 0.5])
    x = np.array([[np.cos(angles[0]), np.sin(angles[0]), np.cos(angles[1]), np.sin(angles[1])]])
    each = []
    for angle, (a, b), limit in zip(angles, params.reshape(2, 2), (100.0, 5.0), strict=True):
        length = math.hypot(a, b)
        each.append(stats.vonmises(length / math.hypot(1.0, length / limit), loc=math.atan2(b, a)).logpdf(angle))
    mask = np.ones((1, 4))
    assert likelihood.log_prob(x, mask, params)[0] == pytest.approx(sum(each), abs=1e-7)
    mask[:, :2] = 0.0
    assert likelihood.log_prob(x, mask, params)[0] == pytest.approx(each[1], abs=1e-7)
    assert likelihood.draw(params[None], np.random.default_rng(0)).shape == (1, 2)


def test_on_a_grid_it_gives_probabilities_that_add_up_to_one():
    """At the limit of a grid, half a step is a standard deviation."""
    for points in (4, 7, 24, 60):
        limit = (math.pi / points) ** -2
        head = VonMisesHead(period=7.0, limit=limit, step=7.0 / points)
        for shift in (0.0, 0.25, 0.5):
            angles = 2.0 * math.pi * (np.arange(points) + shift) / points
            x = np.column_stack([np.cos(angles), np.sin(angles)])
            log_density = VonMisesLikelihood([limit]).log_prob(x, np.ones_like(x), np.array([1e5, 0.0]))
            total = np.exp(log_density + head.log_jacobian(None)).sum()
            assert total == pytest.approx(1.0, abs=0.025)


def test_the_period_is_part_of_the_summary():
    assert HEAD.summary == "von_mises, period 24"
    assert structs.replace(HEAD, step=0.5).grid_step == 0.5
    assert HEAD.cycle == PERIOD
    assert HEAD.num_features == 2
