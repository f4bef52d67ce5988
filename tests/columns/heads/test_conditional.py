"""The Gaussian head whose variance depends on z."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from anomaly_vae.columns.heads.base import RAW_LIMIT
from anomaly_vae.columns.heads.conditional import ConditionalLikelihood
from tests.support.heads import (
    TWO,
    assert_information_is_the_mean_square_of_the_slope,
    draws,
    log_prob,
    wide_grid,
)
from tests.support.models import rows_of

LAW = stats.norm(40.0 + 0.25 * 0.3, 0.25 * math.sqrt(0.05**2 + math.exp(-1.0)))


def test_the_density_is_scipys_in_data_units():
    values = rows_of(40, "conditional")[:, 0]
    np.testing.assert_allclose(log_prob("conditional", values, TWO), LAW.logpdf(values), rtol=1e-9, atol=1e-9)


def test_the_density_integrates_to_one():
    grid = wide_grid(40.0)
    assert np.trapezoid(np.exp(log_prob("conditional", grid, TWO)), grid) == pytest.approx(1.0, abs=2e-4)


def test_the_information_is_the_mean_square_of_the_slope():
    """The Fisher information of the mean and of the raw log-variance; their mixed term is 0."""
    grid = wide_grid(40.0)
    assert_information_is_the_mean_square_of_the_slope("conditional", grid, LAW.pdf(grid) * np.gradient(grid), TWO)


def test_drawn_values_have_the_distribution_that_is_scored():
    assert stats.kstest(draws("conditional", TWO), LAW.cdf).pvalue > 0.01


def test_the_variance_stays_between_the_floor_and_the_limit_for_every_decoder_output():
    """At its mean, the density has the height of the smallest or the largest variance."""
    likelihood, one = ConditionalLikelihood([0.5]), np.ones((1, 1))
    for raw, variance in ((-1e3, 0.25 + math.exp(-RAW_LIMIT)), (1e3, 0.25 + math.exp(RAW_LIMIT))):
        height = likelihood.log_prob(one, one, np.array([1.0, raw]))
        assert height[0] == pytest.approx(stats.norm(0.0, math.sqrt(variance)).logpdf(0.0), rel=1e-12)


def test_the_parameters_are_all_means_then_all_raw_log_variances():
    likelihood = ConditionalLikelihood([0.1, 0.2])
    x, params = np.array([[1.0, -2.0]]), np.array([0.5, -1.0, 0.3, -0.4])
    std = np.sqrt(np.square([0.1, 0.2]) + np.exp([0.3, -0.4]))
    expected = stats.norm([0.5, -1.0], std).logpdf(x).sum()
    assert likelihood.log_prob(x, np.ones_like(x), params)[0] == pytest.approx(expected, rel=1e-12)
