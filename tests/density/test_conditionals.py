"""Mixtures over samples of p(z|x): their density, draws and entropy."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.columns.part import Part
from anomaly_vae.density.conditionals import Conditional, Posterior
from tests.support.models import ALL, estimator_of, features_of, rows_of, vae_of


@pytest.fixture(scope="module")
def estimator():
    vae = vae_of(*ALL, wild=1.5)
    return estimator_of(vae, features_of(*ALL, vae=vae))


def two_members(estimator, column):
    """Two samples under each of two members that are the same model, with weights 0.1, 0.2, 0.3 and 0.4."""
    part = Part(estimator.members[0].features, [ALL.index(column)])
    params = part.params(np.random.default_rng(1).normal(size=(4, estimator.members[0].features.layout.num_params)))
    log_weights = np.log([[0.1, 0.2], [0.3, 0.4]])
    return part, params, Conditional([part, part], [params[:2], params[2:]], log_weights)


@pytest.mark.parametrize("column", ["conditional", "categorical", "count"])
def test_the_density_is_the_weighted_mean_over_the_samples_of_all_members(estimator, column):
    part, params, conditional = two_members(estimator, column)
    values = part.draw(params, np.random.default_rng(3))
    expected = np.log(np.exp(part.log_prob(values, params)) @ [0.1, 0.2, 0.3, 0.4])
    np.testing.assert_allclose(conditional.log_prob(values), expected, rtol=1e-12)


def test_draws_follow_the_weights(estimator):
    _, _, conditional = two_members(estimator, "categorical")
    drawn = conditional.draw(4000, seed=0)
    shares = np.exp(conditional.log_prob(np.array([[0.0], [1.0], [2.0]])))
    assert shares.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(np.bincount(drawn[:, 0].astype(int), minlength=3) / 4000, shares, atol=0.03)
    np.testing.assert_array_equal(drawn, conditional.draw(4000, seed=0))


def test_the_usual_surprise_is_the_entropy(estimator):
    _, _, conditional = two_members(estimator, "categorical")
    log_prob = conditional.log_prob(np.array([[0.0], [1.0], [2.0]]))
    entropy = -(np.exp(log_prob) * log_prob).sum()
    assert conditional.usual_surprise(20_000, seed=1) == pytest.approx(entropy, abs=0.02)


def test_a_posterior_gives_the_conditional_of_a_cell_given_the_others(estimator):
    """log p(x_d | x_rest) as a mixture over samples of p(z | x_rest) is log p(x) - log p(x_rest)."""
    rows = rows_of(3, *ALL)
    d = ALL.index("conditional")
    rest = rows.copy()
    rest[:, d] = np.nan
    samples = estimator.posterior_samples(rest, 64)
    part = Part(estimator.members[0].features, [d])
    for n in range(len(rows)):
        conditional = Posterior(estimator.members, samples, n).of([part])
        expected = estimator.estimate_fixed(np.stack([rows[n], rest[n]]), 4096).log_px
        assert conditional.log_prob(rows[n : n + 1, [d]])[0] == pytest.approx(expected[0] - expected[1], abs=0.1)
