"""One estimate a row: filled in part by part, shifted, and made from log-weights."""

from __future__ import annotations

import numpy as np

from anomaly_vae.density.diagnostics import is_reliable, pareto_k
from anomaly_vae.density.estimates import Estimates
from anomaly_vae.density.importance import summarise


def estimates(n, seed=0):
    weights = np.random.default_rng(seed).normal(size=(n, 16, 16))
    return weights, Estimates.from_weights(weights, summarise(weights, np.zeros(n)))


def test_estimates_hold_the_summary_pareto_k_and_the_number_of_samples():
    weights, got = estimates(5)
    summary, flat = summarise(weights, np.zeros(5)), weights.reshape(5, -1)
    for name, values in zip(summary._fields, summary, strict=True):
        np.testing.assert_array_equal(getattr(got, name), values)
    np.testing.assert_array_equal(got.pareto_k, pareto_k(flat))
    np.testing.assert_array_equal(got.num_samples, 256)
    np.testing.assert_array_equal(got.reliable, is_reliable(summary.std_error, pareto_k(flat), got.num_samples))


def test_parts_are_put_in_their_places():
    _, whole = estimates(5)
    got = Estimates.empty(5)
    assert np.isnan(got.log_px).all()
    assert not got.reliable.any()
    assert not got.num_samples.any()
    for chosen in (np.array([3, 0]), np.array([1, 2, 4])):
        got.put(chosen, Estimates(*(values[chosen] for values in whole)))
    for values, expected in zip(got, whole, strict=True):
        np.testing.assert_array_equal(values, expected)
        assert values.dtype == expected.dtype


def test_some_rows_are_taken_in_the_given_order():
    _, whole = estimates(5)
    for values, expected in zip(whole.take(np.array([3, 0])), whole, strict=True):
        np.testing.assert_array_equal(values, expected[[3, 0]])


def test_the_fields_of_empty_estimates_do_not_share_memory():
    got = Estimates.empty(2)
    got.log_px[0] = 1.0
    assert np.isnan([got.elbo[0], got.std_error[0], got.ess_ratio[0], got.pareto_k[0], got.log_px[1]]).all()


def test_a_shift_moves_log_px_and_elbo_only():
    _, before = estimates(3)
    after = before.shifted(np.array([1.0, -2.0, 0.0]))
    np.testing.assert_allclose(after.log_px - before.log_px, [1.0, -2.0, 0.0])
    np.testing.assert_allclose(after.elbo - before.elbo, [1.0, -2.0, 0.0])
    for name in ("std_error", "ess_ratio", "pareto_k", "reliable", "num_samples"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))


def test_parts_are_joined_in_their_order():
    _, whole = estimates(5)
    parts = [Estimates(*(values[part] for values in whole)) for part in (slice(0, 2), slice(2, 2), slice(2, 5))]
    for values, expected in zip(Estimates.joined(parts), whole, strict=True):
        np.testing.assert_array_equal(values, expected)
        assert values.dtype == expected.dtype
    for values, expected in zip(Estimates.joined([]), whole, strict=True):
        assert values.shape == (0,)
        assert values.dtype == expected.dtype
