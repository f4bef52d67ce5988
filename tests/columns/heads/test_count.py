"""The negative binomial head."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from anomaly_vae.columns.heads import CountHead
from anomaly_vae.columns.heads.count import CountLikelihood
from tests.support.heads import (
    ONE,
    assert_information_is_the_mean_square_of_the_slope,
    assert_shares,
    draws,
    log_prob,
)
from tests.support.models import rows_of

LAW = stats.nbinom(math.exp(0.5), 1.0 / (1.0 + math.exp(0.3)))
COUNTS = np.arange(2000.0)


def test_the_probability_is_scipys():
    values = rows_of(40, "count")[:, 0]
    np.testing.assert_allclose(log_prob("count", values, ONE), LAW.logpmf(values), rtol=1e-9, atol=1e-9)


def test_the_probabilities_add_up_to_one():
    assert np.exp(log_prob("count", COUNTS, ONE)).sum() == pytest.approx(1.0, abs=1e-9)


def test_the_information_is_the_mean_square_of_the_slope():
    assert_information_is_the_mean_square_of_the_slope("count", COUNTS, LAW.pmf(COUNTS), ONE)


def test_drawn_values_have_the_probabilities_that_are_scored():
    assert_shares(draws("count", ONE), COUNTS[:30], LAW.pmf(COUNTS[:30]))


def test_with_a_large_dispersion_it_is_a_poisson_distribution():
    """Mean r exp(u) = 3 and variance 3 (1 + 3 / r)."""
    head, x = CountHead(log_dispersion=14.0, center=0.0, scale=1.0), np.arange(12.0)[:, None]
    logit = np.array([math.log(3.0) - 14.0])
    got = CountLikelihood([14.0]).log_prob(x, np.ones_like(x), logit) + head.base(x)[:, 0]
    np.testing.assert_allclose(got, stats.poisson(3.0).logpmf(x[:, 0]), atol=1e-4)


def test_a_huge_rate_is_drawn_without_an_error():
    """numpy's Poisson sampler refuses rates above about 9e18."""
    drawn = CountLikelihood([60.0]).draw(np.full((10, 1), 1e3), np.random.default_rng(0))
    assert np.all((drawn > 0.9e15) & (drawn < 1.1e15))


def test_the_encoder_sees_centred_and_scaled_counts():
    assert CountHead(log_dispersion=0.0, center=2.0, scale=3.0).input_scaling == (2.0, 3.0)
