"""Pareto k on tails of known shape, and the flag ``reliable``."""

import numpy as np
import pytest
from scipy.stats import genpareto

from anomaly_vae.density.diagnostics import has_light_tail, is_reliable, pareto_k
from tests.support.same_bits import assert_rows_stand_alone


@pytest.mark.parametrize("shape", [-0.3, 0.2, 0.5, 0.8, 1.2])
def test_the_shape_of_a_generalised_pareto_tail_is_found(shape):
    """The excesses of generalised Pareto weights over any cut have the same shape."""
    weights = genpareto(shape).rvs(size=(40, 4096), random_state=1)
    k = pareto_k(np.log(weights + 1e-12))
    weak_prior = (192 * shape + 5) / 202  # the prior counts as 10 observations of 1/2
    assert np.mean(k) == pytest.approx(weak_prior, abs=0.05)


def test_it_agrees_with_an_independent_fit():
    """scipy's maximum-likelihood fit of the same excesses, on log-normal weights."""
    log_weights = np.random.default_rng(0).normal(size=(5, 2000)) * 1.5
    for row, k in zip(log_weights, pareto_k(log_weights), strict=True):
        ordered = np.sort(np.exp(row - row.max()))
        size = int(np.ceil(3 * np.sqrt(2000)))
        fitted = genpareto.fit(ordered[-size:] - ordered[-size - 1], floc=0)[0]
        assert k == pytest.approx((size * fitted + 5) / (size + 10), abs=0.06)


def test_equal_weights_have_no_tail_and_few_samples_give_no_k():
    assert pareto_k(np.full((2, 512), -3.0)).tolist() == [0.0, 0.0]
    assert np.isnan(pareto_k(np.arange(126.0).reshape(2, 63))).all()
    assert np.isfinite(pareto_k(np.arange(128.0).reshape(2, 64))).all()
    assert pareto_k(np.zeros((2, 16))).tolist() == [0.0, 0.0]
    assert len(pareto_k(np.empty((0, 512)))) == 0


def test_rows_with_at_most_one_weight_give_no_warning():
    log_weights = np.full((2, 512), -np.inf)
    log_weights[0, 7] = 0.0
    k = pareto_k(log_weights)
    assert k.shape == (2,)


def test_k_does_not_depend_on_the_other_rows():
    rng = np.random.default_rng(0)
    for num_samples in (64, 128, 1000):
        log_weights = rng.normal(size=(20, num_samples)) * rng.uniform(0.0, 4.0, size=(20, 1))
        log_weights[3] = -2.0
        assert_rows_stand_alone(lambda rows: pareto_k(log_weights[rows]), 20)  # noqa: B023 (called at once)


@pytest.mark.parametrize(("spread", "light"), [(0.3, True), (10.0, False)])
def test_64_samples_tell_a_light_tail_from_a_heavy_one(spread, light):
    """Log-normal weights: at 0.3 nats all are alike, at 10 nats one carries the sum."""
    log_weights = np.random.default_rng(0).normal(size=(200, 64)) * spread
    assert np.mean(has_light_tail(pareto_k(log_weights), np.full(200, 64)) == light) > 0.95


def test_a_tail_is_light_unless_its_k_is_significantly_above_0_7():
    """An estimate of k from few samples is noisy, so its limit is higher."""
    k = np.tile([-0.2, 0.0, 0.7, 1.3, np.nan], (3, 1))
    num_samples = np.array([[64], [1024], [4096]])
    light = has_light_tail(k, num_samples)
    np.testing.assert_array_equal(light, np.tile([True, True, True, False, False], (3, 1)))
    grid = np.linspace(0.7, 1.3, 601)
    limits = [grid[has_light_tail(grid, np.full(601, number))].max() for number in (64, 256, 1024, 4096)]
    assert np.all(np.diff(limits) < 0.0)
    assert limits[-1] < 0.85


@pytest.mark.parametrize("num_samples", [64, 256, 1024, 4096])
def test_the_limit_is_one_standard_error_above_0_7(num_samples):
    """Of the estimates of a tail whose true k is 0.7, 84 % are then below it; the prior on k makes it a few more."""
    weights = genpareto(0.7).rvs(size=(400, num_samples), random_state=1)
    light = has_light_tail(pareto_k(np.log(weights)), np.full(400, num_samples))
    assert 0.78 < light.mean() < 0.99


@pytest.mark.parametrize(("num_samples", "shape"), [(64, 5.0), (256, 2.0), (1024, 1.5), (4096, 1.2)])
def test_a_heavier_tail_is_found_with_more_samples(num_samples, shape):
    weights = genpareto(shape).rvs(size=(400, num_samples), random_state=2)
    assert has_light_tail(pareto_k(np.log(weights)), np.full(400, num_samples)).mean() < 0.05


def test_reliable_needs_an_error_that_is_valid_and_small_and_a_light_tail():
    error = np.array([0.1, np.nan, 0.6, 0.1, 0.1])
    k = np.array([0.3, 0.3, 0.3, 0.95, np.nan])
    assert is_reliable(error, k, np.full(5, 4096)).tolist() == [True, False, False, False, False]
    assert is_reliable(error, k, np.full(5, 64)).tolist() == [True, False, False, True, False]
