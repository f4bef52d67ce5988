"""The Bernoulli head."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from anomaly_vae.columns.heads.base import LOGIT_LIMIT
from anomaly_vae.columns.heads.bernoulli import BernoulliLikelihood
from tests.support.heads import (
    ONE,
    assert_information_is_the_mean_square_of_the_slope,
    assert_shares,
    draws,
    log_prob,
)

LAW, VALUES = stats.bernoulli(1.0 / (1.0 + math.exp(-0.3))), np.array([0.0, 1.0])


def test_the_probability_is_scipys():
    np.testing.assert_allclose(log_prob("bernoulli", VALUES, ONE), LAW.logpmf(VALUES), rtol=1e-12)


def test_the_probabilities_add_up_to_one():
    assert np.exp(log_prob("bernoulli", VALUES, ONE)).sum() == pytest.approx(1.0, abs=1e-12)


def test_the_information_is_the_mean_square_of_the_slope():
    assert_information_is_the_mean_square_of_the_slope("bernoulli", VALUES, LAW.pmf(VALUES), ONE)


def test_drawn_values_have_the_probabilities_that_are_scored():
    assert_shares(draws("bernoulli", ONE), VALUES, LAW.pmf(VALUES))


def test_a_surprise_costs_at_most_the_limit_of_logits():
    """A decoder that is certain and wrong gives log p of about -30, not minus infinity."""
    got = BernoulliLikelihood().log_prob(VALUES[:, None], np.ones((2, 1)), np.array([1e6]))
    np.testing.assert_allclose(got, [-LOGIT_LIMIT, 0.0], atol=1e-12)
