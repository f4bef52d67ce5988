"""Pareto k on tails of known shape, and the flag ``reliable``."""

import numpy as np
import pytest
from scipy.stats import genpareto

from anomaly_vae.density.diagnostics import is_reliable, pareto_k, pareto_limit


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
    assert np.isnan(pareto_k(np.arange(256.0).reshape(2, 128))).all()
    assert pareto_k(np.zeros((2, 16))).tolist() == [0.0, 0.0]
    assert len(pareto_k(np.empty((0, 512)))) == 0


def test_rows_with_at_most_one_weight_give_no_warning():
    log_weights = np.full((2, 512), -np.inf)
    log_weights[0, 7] = 0.0
    k = pareto_k(log_weights)
    assert k.shape == (2,)


def test_the_limit_grows_with_the_samples_up_to_0_7():
    limits = pareto_limit(np.array([100, 1000, 2155, 10**6]))
    np.testing.assert_allclose(limits, [0.5, 2 / 3, 0.7, 0.7], atol=1e-3)


def test_reliable_needs_an_error_that_is_valid_and_small_and_a_tail_within_the_limit():
    error = np.array([0.1, np.nan, 0.6, 0.1, 0.1])
    k = np.array([0.3, 0.3, 0.3, 0.69, np.nan])
    assert is_reliable(error, k, np.full(5, 1000)).tolist() == [True, False, False, False, False]
