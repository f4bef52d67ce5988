"""Exact intervals and tails against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta, betabinom, binomtest

from anomaly_vae.assessment.proportions import (
    beta_binomial_tail,
    beta_quantile,
    clopper_pearson,
    incomplete_beta,
    proportion,
)


@pytest.mark.parametrize(("count", "total"), [(0, 1), (1, 1), (0, 50), (50, 50), (3, 100), (97, 100), (900, 10**6)])
@pytest.mark.parametrize("confidence", [0.95, 0.999])
def test_intervals_are_those_of_scipy(count, total, confidence):
    expected = binomtest(count, total).proportion_ci(confidence, method="exact")
    np.testing.assert_allclose(clopper_pearson(count, total, confidence), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (0.5, 0.5), (2.0, 300.0), (5e5, 7.0), (4e5, 6e5)])
def test_the_incomplete_beta_function_is_that_of_scipy(a, b):
    for probability in (0.001, 0.3, 0.999):
        x = beta.ppf(probability, a, b)
        assert incomplete_beta(x, a, b) == pytest.approx(probability, rel=1e-8)
        assert beta_quantile(probability, a, b) == pytest.approx(x, rel=1e-8)
    assert (incomplete_beta(0.0, a, b), incomplete_beta(1.0, a, b)) == (0.0, 1.0)


@pytest.mark.parametrize(("total", "a", "b"), [(1, 1, 99), (2000, 3, 366), (50, 40, 2), (10**5, 10, 990)])
def test_tails_of_flags_are_those_of_scipy(total, a, b):
    for count in {0, 1, total // 50, total}:  # scipy computes 1 - cdf, with an error of about 1e-9
        expected = betabinom.sf(count - 1, total, a, b)
        assert beta_binomial_tail(count, total, a, b) == pytest.approx(expected, rel=1e-6, abs=2e-9)


def test_a_share_of_no_rows_is_none():
    assert proportion(0, 0, 0.95) is None
    found = proportion(1, 4, 0.95)
    assert (found.count, found.total, found.share) == (1, 4, 0.25)
    assert found.low < 0.25 < found.high
