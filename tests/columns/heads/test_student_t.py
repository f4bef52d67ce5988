"""The Student's t head: heavy tails."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from anomaly_vae.columns.heads.student_t import StudentTLikelihood
from tests.support.heads import ONE, assert_curvature_is_the_slope_over_the_residual, draws, log_prob, wide_grid
from tests.support.models import COLUMNS, rows_of

LAW = stats.t(4.0, 40.0 + 0.25 * 0.3, 0.25 * math.exp(-0.7))


def test_the_density_is_scipys_in_data_units():
    values = rows_of(40, "student_t")[:, 0]
    np.testing.assert_allclose(log_prob("student_t", values, ONE), LAW.logpdf(values), rtol=1e-9, atol=1e-9)


def test_the_density_integrates_to_one():
    grid = wide_grid(40.0)
    assert np.trapezoid(np.exp(log_prob("student_t", grid, ONE)), grid) == pytest.approx(1.0, abs=2e-4)


def test_the_curvature_is_the_slope_over_the_residual():
    """The quadratic bound of majorise-minimise: an outlier hardly moves z."""
    assert_curvature_is_the_slope_over_the_residual("student_t")


def test_drawn_values_have_the_distribution_that_is_scored():
    assert stats.kstest(draws("student_t", ONE), LAW.cdf).pvalue > 0.01


def test_with_many_degrees_of_freedom_it_is_a_gaussian():
    """The difference of the logarithms falls with 1 / freedom."""
    x = np.linspace(-3.0, 3.0, 13)[:, None]
    got = StudentTLikelihood([0.2], [1e3]).log_prob(x, np.ones_like(x), np.zeros(1))
    np.testing.assert_allclose(got, stats.norm(0.0, math.exp(0.2)).logpdf(x[:, 0]), atol=0.02)


def test_its_spread_and_its_summary_name_scale_and_degrees_of_freedom():
    head = COLUMNS["student_t"][1].head
    assert head.learned_std == pytest.approx(math.exp(-0.7))
    assert head.summary == "student_t 0.497, df 4"
