"""The logistic head: the probability of a grid cell."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from anomaly_vae.columns.heads.logistic import LogisticLikelihood
from tests.support.heads import (
    ONE,
    assert_curvature_is_the_slope_over_the_residual,
    assert_shares,
    draws,
    log_prob,
)
from tests.support.models import COLUMNS, rows_of

LAW = stats.logistic(10.0 + 2.0 * 0.3, 2.0 * math.exp(-0.7))


def test_the_probability_is_that_of_scipys_cell():
    values = rows_of(40, "logistic")[:, 0]
    expected = np.log(LAW.cdf(values + 0.5) - LAW.cdf(values - 0.5))
    np.testing.assert_allclose(log_prob("logistic", values, ONE), expected, rtol=1e-9, atol=1e-9)


def test_the_probabilities_add_up_to_one():
    assert np.exp(log_prob("logistic", np.arange(-400.0, 400.0), ONE)).sum() == pytest.approx(1.0, abs=1e-9)


def test_the_curvature_is_the_slope_over_the_residual():
    """The quadratic bound of majorise-minimise: an outlier hardly moves z."""
    assert_curvature_is_the_slope_over_the_residual("logistic")


def test_the_curvature_has_its_limit_in_the_middle():
    """At residual 0 slope / residual is 0 / 0; its limit is minus the second derivative of log p."""
    likelihood, one, h = LogisticLikelihood([0.4], [0.5]), np.ones((1, 1)), 1e-3
    left, middle, right = (likelihood.log_prob(0.0 * one, one, np.array([mean]))[0] for mean in (-h, 0.0, h))
    curvature = likelihood.information(0.0 * one, one, np.zeros(1))[0, 0]
    assert curvature == pytest.approx(-(left - 2.0 * middle + right) / h**2, rel=1e-4)


def test_drawn_values_have_the_probabilities_that_are_scored():
    values = np.arange(0.0, 22.0)
    assert_shares(draws("logistic", ONE), values, LAW.cdf(values + 0.5) - LAW.cdf(values - 0.5))


def test_a_value_far_away_has_a_finite_log_probability():
    """The difference of the two cumulative probabilities is 0 in float64; its logarithm falls with the distance."""
    far = np.array([[1e3], [1e6], [1e12]])
    got = LogisticLikelihood([0.0], [0.5]).log_prob(far, np.ones_like(far), np.zeros(1))
    np.testing.assert_allclose(got, -far[:, 0] + math.log(math.exp(0.25) - math.exp(-0.25)), rtol=1e-12)


def test_a_density_of_one_is_the_width_of_the_cell():
    """A probability has no units; a cell of h standard deviations at density 1 has the probability h."""
    head, transform = COLUMNS["logistic"][1].head, COLUMNS["logistic"][1].transform
    assert head.log_jacobian(transform) == 0.0
    assert head.unit_log_density(transform) == pytest.approx(math.log(0.5))
    assert head.summary == "logistic 0.497"
