"""Rounds of samples until the budget ends or the standard error is small enough."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.density.rounds import sample_and_estimate
from tests.support.exact_models import estimator_of, student, wrong_encoder


def test_with_a_target_error_a_row_spends_only_the_samples_it_needs():
    exact, vae, rows = wrong_encoder()
    estimator = estimator_of(vae, points=256)
    coarse, fine = (estimator.estimate(rows, 4096, max_std_error=error) for error in (0.1, 0.01))
    full = estimator.estimate(rows, 4096)
    assert np.all(coarse.std_error <= 0.1)
    assert np.all((fine.std_error <= 0.01) | (fine.num_samples == full.num_samples))
    assert coarse.num_samples.mean() < fine.num_samples.mean() < full.num_samples.mean()
    assert np.all(coarse.num_samples <= fine.num_samples)
    assert np.mean(np.abs(coarse.log_px - exact) <= student(coarse.std_error)) >= 0.97


def test_an_error_that_cannot_be_met_ends_with_the_budget():
    """The last round spends the budget exactly, and all samples enter the estimate."""
    _, vae, rows = wrong_encoder()
    estimator = estimator_of(vae)
    got, full = estimator.estimate(rows[:9], 1024, max_std_error=1e-12), estimator.estimate(rows[:9], 1024)
    np.testing.assert_array_equal(got.num_samples, full.num_samples)
    assert np.abs(got.log_px - full.log_px).max() < 0.1


class Prepared:
    """A sampler whose log-weights are given, (N, R, n)."""

    def __init__(self, weights, num_points=0, seen=None):
        self.weights, self.num_points = weights, num_points
        self.seen = [] if seen is None else seen

    @property
    def num_rows(self):
        return len(self.weights)

    def extend(self, num_points):
        assert self.num_points <= num_points
        self.num_points = num_points
        self.seen.append((num_points, self.num_rows))

    def take(self, chosen):
        return Prepared(self.weights[chosen], self.num_points, self.seen)

    def log_weights(self):
        return self.weights[..., : self.num_points], np.zeros(self.num_rows)


def prepared(num_points=0):
    """Return rows of equal weights, of weights that differ a little, and of very different weights."""
    noise = np.random.default_rng(0).normal(size=(3, 16, 256))
    return Prepared(noise * np.array([0.0, 0.3, 3.0])[:, None, None], num_points)


def test_without_a_target_the_budget_is_spent_in_one_round():
    sampler = prepared()
    got = sample_and_estimate(sampler, 64, None)
    assert sampler.seen == [(64, 3)]
    np.testing.assert_array_equal(got.num_samples, 16 * 64)


def test_a_row_ends_at_the_first_check_that_meets_the_target():
    """Checks at 16, 32, 64, ... points; a row that has ended is not sampled again, and keeps its place."""
    sampler = prepared()
    got = sample_and_estimate(sampler, 256, 0.01)
    assert sampler.seen == [(16, 3), (32, 2), (64, 2), (128, 1), (256, 1)]
    np.testing.assert_array_equal(got.num_samples, [16 * 16, 16 * 64, 16 * 256])
    assert np.all(got.std_error[:2] <= 0.01)
    for i, points in enumerate((16, 64, 256)):
        alone = sample_and_estimate(prepared(), points, None)
        np.testing.assert_array_equal([values[i] for values in got], [values[i] for values in alone])


@pytest.mark.parametrize(("first", "budget", "checks"), [(4, 8, [8]), (24, 64, [24, 48, 64]), (16, 16, [16])])
def test_samples_that_rows_have_already_count(first, budget, checks):
    sampler = prepared(first)
    sample_and_estimate(sampler, budget, 1e-12)
    assert [points for points, _ in sampler.seen][-len(checks) :] == checks
    assert sampler.seen[0] == (checks[0], 3)
