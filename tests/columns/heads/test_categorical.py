"""The categorical head."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.columns.heads.base import LOGIT_LIMIT
from anomaly_vae.columns.heads.categorical import CategoricalLikelihood
from tests.support.heads import (
    THREE,
    assert_information_is_the_mean_square_of_the_slope,
    assert_shares,
    draws,
    log_prob,
)

CATEGORIES, SHARES = np.arange(3.0), np.exp(THREE) / np.exp(THREE).sum()


def test_the_probabilities_are_the_softmax_of_the_logits():
    np.testing.assert_allclose(log_prob("categorical", CATEGORIES, THREE), np.log(SHARES), rtol=1e-12)


def test_the_probabilities_add_up_to_one():
    assert np.exp(log_prob("categorical", CATEGORIES, THREE)).sum() == pytest.approx(1.0, abs=1e-12)


def test_the_information_is_the_mean_square_of_the_slope():
    """The diagonal of the Fisher information: p (1 - p) of each category."""
    assert_information_is_the_mean_square_of_the_slope("categorical", CATEGORIES, SHARES, THREE)


def test_drawn_values_have_the_probabilities_that_are_scored():
    assert_shares(draws("categorical", THREE), CATEGORIES, SHARES)


def test_columns_of_different_sizes_do_not_mix():
    """Two columns with 2 and 3 categories: the sum of two softmaxes, and a draw from each."""
    likelihood = CategoricalLikelihood([2, 3])
    logits = np.array([0.2, -0.7, 1.0, 0.0, -2.0])
    x, mask = np.array([[0.0, 1.0, 0.0, 0.0, 1.0]]), np.ones((1, 5))
    two, three = np.exp(logits[:2]), np.exp(logits[2:])
    expected = np.log(two[1] / two.sum()) + np.log(three[2] / three.sum())
    assert likelihood.log_prob(x, mask, logits)[0] == pytest.approx(expected, rel=1e-12)
    mask[:, 2:] = 0.0  # the second column is missing
    assert likelihood.log_prob(x, mask, logits)[0] == pytest.approx(np.log(two[1] / two.sum()), rel=1e-12)
    drawn = likelihood.draw(np.tile(logits, (20_000, 1)), np.random.default_rng(0))
    assert_shares(drawn[:, 0], np.arange(2.0), two / two.sum())
    assert_shares(drawn[:, 1], np.arange(3.0), three / three.sum())


def test_a_surprise_costs_at_most_twice_the_limit_of_logits():
    x = np.eye(3)[1:2]
    got = CategoricalLikelihood([3]).log_prob(x, np.ones((1, 3)), np.array([1e6, -1e6, -1e6]))
    np.testing.assert_allclose(got, -2.0 * LOGIT_LIMIT, atol=1e-9)
