"""The Gaussian head: a density, or the probability of a grid point."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from anomaly_vae.columns.heads import ColumnModel, GaussianHead
from anomaly_vae.columns.heads.gaussian import GaussianLikelihood
from tests.support.heads import (
    ONE,
    assert_information_is_the_mean_square_of_the_slope,
    draws,
    log_prob,
    wide_grid,
)
from tests.support.models import LINE, rows_of

TENTHS = np.round(np.arange(-1000, 1000) * 0.1 + 40.0, 1)
PLAIN, GRID = stats.norm(40.0 + 0.25 * 0.3, 0.25 * math.exp(-0.5)), stats.norm(40.0 + 0.25 * 0.3, 0.25 * math.exp(-0.6))


def test_the_density_is_scipys_in_data_units():
    values = rows_of(40, "gaussian")[:, 0]
    np.testing.assert_allclose(log_prob("gaussian", values, ONE), PLAIN.logpdf(values), rtol=1e-9, atol=1e-9)


def test_the_probability_of_a_grid_point_is_the_step_times_the_density():
    values = rows_of(40, "grid")[:, 0]
    expected = GRID.logpdf(values) + math.log(0.1)
    np.testing.assert_allclose(log_prob("grid", values, ONE), expected, rtol=1e-9, atol=1e-9)


def test_the_density_integrates_to_one():
    grid = wide_grid(40.0)
    assert np.trapezoid(np.exp(log_prob("gaussian", grid, ONE)), grid) == pytest.approx(1.0, abs=2e-4)


def test_the_probabilities_of_grid_points_add_up_to_one():
    assert np.exp(log_prob("grid", TENTHS, ONE)).sum() == pytest.approx(1.0, abs=1e-6)


def test_the_probabilities_add_up_to_one_for_every_mean_at_the_least_standard_deviation():
    """It is half a step: the Poisson summation formula bounds the error by 2 exp(-pi^2 / 2)."""
    step, std = 0.3, 0.15
    likelihood = GaussianLikelihood([2.0 * math.log(std)])
    for mean in np.linspace(0.0, step, 7):
        points = np.arange(-50, 51)[:, None] * step
        masses = step * np.exp(likelihood.log_prob(points, np.ones_like(points), np.array([mean])))
        assert masses.sum() == pytest.approx(1.0, abs=0.015)
        assert masses.max() <= 1.0


def test_the_information_is_the_mean_square_of_the_slope():
    """This is the Fisher information; for a Gaussian it is the precision."""
    grid = wide_grid(40.0)
    assert_information_is_the_mean_square_of_the_slope("gaussian", grid, PLAIN.pdf(grid) * np.gradient(grid), ONE)
    assert_information_is_the_mean_square_of_the_slope("grid", TENTHS, 0.1 * GRID.pdf(TENTHS), ONE)


def test_drawn_values_have_the_distribution_that_is_scored():
    """Kolmogorov-Smirnov; on a grid the values are rounded to it."""
    assert stats.kstest(draws("gaussian", ONE), PLAIN.cdf).pvalue > 0.01
    rounded = draws("grid", ONE)
    np.testing.assert_allclose(rounded, np.round(rounded, 1), atol=1e-9)
    std = math.hypot(GRID.std(), 0.1 / math.sqrt(12.0))  # rounding adds the variance of a step
    assert (rounded.mean(), rounded.std()) == pytest.approx((GRID.mean(), std), rel=0.02)


def test_only_a_learned_variance_is_a_learned_std():
    fixed, learned = (GaussianHead(variance=kind, log_var=-1.0) for kind in ("fixed", "learned"))
    assert fixed.learned_std is None
    assert learned.learned_std == pytest.approx(math.exp(-0.5))
    assert learned.summary == "gaussian 0.607"
    assert ColumnModel(head=learned, transform=LINE).head.grid_step is None
