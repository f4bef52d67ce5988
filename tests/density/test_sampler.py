"""Samplers under a linear model, whose posterior and log p(x) are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp

from anomaly_vae.density import tiles
from anomaly_vae.density.fitting import FitPlan, ProposalFitter
from anomaly_vae.density.noise import Noise
from anomaly_vae.density.sampler import EncoderSampler, MixtureSampler, Rows
from anomaly_vae.training.noise import sobol_normal
from tests.support.exact_models import LinearNetwork

X = np.random.default_rng(3).normal(size=(7, 5)) * 2.0
NOISE = Noise(sobol_normal(16, 64, 2, seed=0))


def encoder_sampler(**options):
    network = LinearNetwork(**options)
    x, mask = X.astype(np.float32), np.ones(X.shape, dtype=np.float32)
    return network, EncoderSampler(network, NOISE, Rows(x, mask, *tiles.encode(network, x, mask)))


def mixture_sampler(**options):
    network, pilot = encoder_sampler(**options)
    pilot.extend(4)
    mixture = ProposalFitter(network, NOISE, network.likelihood).fit(pilot, FitPlan(2, 3, 24))
    return network, MixtureSampler(network, NOISE, pilot.rows, mixture)


def test_with_the_exact_posterior_every_weight_is_p_of_x():
    """p(x, z) / p(z|x) is p(x) for every z: no constant and no density is missing."""
    network, sampler = encoder_sampler()
    sampler.extend(4)
    weights, largest_term = sampler.log_weights()
    np.testing.assert_allclose(weights, np.broadcast_to(network.log_px(X)[:, None, None], (7, 16, 4)), atol=1e-4)
    assert np.all(largest_term >= np.abs(weights).max(axis=(1, 2)) / 2.0)


@pytest.mark.parametrize("make", [encoder_sampler, mixture_sampler])
def test_the_mean_weight_of_a_wrong_encoder_is_p_of_x(make):
    """Importance sampling is unbiased for every proposal; 1,024 quasi-random points, within 0.02 nats."""
    network, sampler = make(shift=0.4, width=1.4)
    sampler.extend(64)
    flat = sampler.log_weights()[0].reshape(7, -1)
    np.testing.assert_allclose(logsumexp(flat, axis=1) - np.log(1024), network.log_px(X), atol=0.02)
    assert flat.std(axis=1).min() > 0.01, "the weights are not all equal, so they say something about the proposal"


@pytest.mark.parametrize("make", [encoder_sampler, mixture_sampler])
def test_a_selection_of_rows_has_their_samples_and_goes_on_with_the_next_points(make):
    _, sampler = make(shift=0.4, width=1.4)
    sampler.extend(8)
    chosen = np.array([5, 1])
    taken = sampler.take(chosen)
    assert (taken.num_rows, taken.num_points) == (2, 8)
    for values, expected in zip(taken.log_weights(), sampler.log_weights(), strict=True):
        np.testing.assert_array_equal(values, expected[chosen])
    sampler.extend(32)
    assert taken.num_points == 8, "a selection does not share the state of its source"
    taken.extend(32)
    np.testing.assert_allclose(taken.log_weights()[0], sampler.log_weights()[0][chosen], rtol=1e-6)


def test_rounds_of_the_encoder_are_one_sample_of_all_points():
    _, whole = encoder_sampler(width=1.4)
    _, rounds = encoder_sampler(width=1.4)
    whole.extend(32)
    for num_points in (1, 4, 4, 32):
        rounds.extend(num_points)
    assert rounds.num_points == 32
    for values, expected in zip(rounds.log_weights(), whole.log_weights(), strict=True):
        np.testing.assert_allclose(values, expected, rtol=1e-6)


def test_rounds_of_a_mixture_are_weighed_by_the_shares_of_all_rounds():
    """Deterministic-mixture weights: log q has the shares of all points, so the mean weight stays unbiased.

    A round of one point goes to the encoder's component, which so gets 36 of 64 points, but 4 of the last 32.
    """
    network, sampler = mixture_sampler(shift=0.4, width=1.4)
    for num_points in (*range(1, 33), 64):
        sampler.extend(num_points)
    flat = sampler.log_weights()[0].reshape(7, -1)
    np.testing.assert_allclose(logsumexp(flat, axis=1) - np.log(1024), network.log_px(X), atol=0.02)


def test_the_best_sample_has_the_largest_density():
    network, sampler = encoder_sampler(shift=1.0, width=2.0)
    sampler.extend(16)
    points = NOISE.slice(0, 16)[0].astype(np.float64)
    z = sampler.rows.loc[:, None] + sampler.rows.scale[:, None] * points
    log_joint = network.likelihood.log_prob(X[:, None], np.ones_like(X[:, None]), z @ network.W.T + network.b)
    best = (log_joint - 0.5 * np.square(z).sum(axis=-1)).argmax(axis=1)
    np.testing.assert_allclose(sampler.best(), z[np.arange(7), best], rtol=1e-5)
