"""The engine: pilot, kept or fitted proposals, and the screen for flags."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.bundle.members import open_members
from anomaly_vae.columns.features import Inputs
from anomaly_vae.density.engine import Engine
from anomaly_vae.density.estimator import DensityEstimator
from anomaly_vae.density.noise import Noise
from anomaly_vae.density.runtime import OnnxNetwork
from anomaly_vae.training.noise import sobol_normal
from tests.support.data import make_rows
from tests.support.exact_models import (
    LinearNetwork,
    estimator_of,
    factor_analysis,
    student,
    untrained,
    wrong_encoder,
)


def test_a_wrong_encoder_gives_small_errors_at_the_default_budget():
    """The proposal is fitted to the row, and the stated errors cover the exact value."""
    exact, vae, rows = wrong_encoder()
    got = estimator_of(vae).estimate(rows, 1024)
    error = np.abs(got.log_px - exact)
    assert np.median(error) < 0.02
    assert np.mean(error <= student(got.std_error)) >= 0.97
    assert got.reliable.mean() > 0.97
    assert np.all(got.num_samples < 1024)


def test_the_exact_encoder_is_kept_and_exact_on_every_row():
    fitted, vae, transform, rows = factor_analysis()
    rows = np.concatenate([rows, transform.inverse(transform.forward(rows) * 2)])
    exact = fitted.score_samples(transform.forward(rows)) + transform.log_abs_det
    got = estimator_of(vae).estimate(rows, 1024)
    assert np.all(np.abs(got.log_px - exact) <= np.maximum(1e-3, 1e-6 * np.abs(exact)))
    assert np.all(got.num_samples == 1024)
    assert np.all(got.pareto_k == 0.0)
    assert got.reliable.all()


@pytest.mark.parametrize("error", [None, 0.05])
@pytest.mark.parametrize("latent_dim", [2, 9, 16])
def test_scores_with_fitted_proposals_do_not_depend_on_the_other_rows(error, latent_dim):
    """Every selection of rows gives the same bits, with 1 and 2 threads."""
    one, two = (estimator_of(untrained(20, latent_dim), threads=threads) for threads in (1, 2))
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(150, 20)) * rng.choice([0.1, 3.0, 30.0], size=(150, 1))
    expected = one.estimate(rows, 1024, error)

    def same(got, chosen):
        for field in expected._fields:
            np.testing.assert_array_equal(getattr(got, field), getattr(expected, field)[chosen], err_msg=field)

    same(two.estimate(rows, 1024, error), slice(None))
    order = rng.permutation(150)
    same(two.estimate(rows[order], 1024, error), order)
    for i in range(0, 150, 11):
        same(one.estimate(rows[i : i + 1], 1024, error), slice(i, i + 1))
    for start in range(0, 150, 7):
        same(one.estimate(rows[start : start + 7], 1024, error), slice(start, start + 7))
    same(two.estimate(np.asfortranarray(rows)[::-1], 1024, error), slice(None, None, -1))


def test_kept_and_fitted_rows_in_one_call_do_not_affect_each_other():
    """The encoder's input is clipped for rows far out, so these are fitted. The others keep its exact posterior."""
    _, vae, transform, rows = factor_analysis()
    rows = np.random.default_rng(0).permutation(np.concatenate([rows, transform.inverse(transform.forward(rows) * 30)]))
    estimator = estimator_of(vae, threads=2)
    whole = estimator.estimate(rows, 1024)
    assert 20 < np.sum(whole.num_samples == 1024) < 60
    for step in (1, 7, 33):
        parts = [estimator.estimate(rows[i : i + step], 1024) for i in range(0, len(rows), step)]
        for got, expected in zip(zip(*parts, strict=True), whole, strict=True):
            np.testing.assert_array_equal(np.concatenate(got), expected)


class Nudged:
    """Networks with random errors in the last digit of float32, as of another machine."""

    def __init__(self, network: OnnxNetwork) -> None:
        self.network, self.rng = network, np.random.default_rng(0)

    def __getattr__(self, name):
        def call(*inputs):
            outputs = getattr(self.network, name)(*inputs)
            return tuple(map(self.nudge, outputs)) if isinstance(outputs, tuple) else self.nudge(outputs)

        return call

    def nudge(self, values):
        return (values * (1.0 + 1.2e-7 * self.rng.choice([-1, 1], size=values.shape))).astype(np.float32)


def test_a_machine_that_rounds_differently_gives_nearly_the_same_scores(trained):
    """The root of a proposal's covariance is continuous in its entries. Eigenvectors would not be: their signs jump."""
    manifest, bundle = trained.bundle.manifest, trained.bundle
    (member,) = open_members(manifest.schema, manifest.members, bundle.files)
    nudged = member._replace(network=Nudged(member.network))
    here, there = (DensityEstimator([one], bundle.noise, threads=1) for one in (member, nudged))
    rows = make_rows(100, seed=3)
    np.testing.assert_allclose(there.plain_log_px(rows, 1024), here.plain_log_px(rows, 1024), atol=1e-4)
    one, other = here.estimate(rows, 1024), there.estimate(rows, 1024)
    difference = np.abs(one.log_px - other.log_px)
    assert np.median(difference) < 1e-3
    assert np.mean(difference <= 4 * np.hypot(one.std_error, other.std_error)) > 0.97


def linear_engine(**options):
    network = LinearNetwork(**options)
    return network, Engine(network, Noise(sobol_normal(16, 64, 2, seed=0)), network.likelihood, adaptive=True)


def inputs_of(x, base=0.0):
    return Inputs(x, np.ones_like(x), np.full(len(x), base))


X = np.random.default_rng(3).normal(size=(12, 5)) * 2.0


def test_the_base_shifts_log_px_and_elbo_and_nothing_else():
    """The terms of log p(x) that do not depend on z, such as the units of the columns."""
    network, engine = linear_engine()
    plain, shifted = engine.estimate(inputs_of(X), 64), engine.estimate(inputs_of(X, base=5.0), 64)
    np.testing.assert_allclose(plain.log_px, network.log_px(X), atol=1e-4)
    np.testing.assert_array_equal(shifted.log_px, plain.log_px + 5.0)
    np.testing.assert_array_equal(shifted.elbo, plain.elbo + 5.0)
    np.testing.assert_array_equal(shifted.std_error, plain.std_error)


def test_a_screen_ends_clear_rows_after_the_pilot_and_estimates_the_others_in_full():
    network, engine = linear_engine(width=1.3)
    threshold = np.full(12, float(np.median(network.log_px(X))))
    full = engine.estimate(inputs_of(X), 1024)
    got = engine.screen(inputs_of(X), 1024, threshold)
    below = np.flatnonzero(network.log_px(X) < threshold - 0.1)
    assert set(below) <= set(got.remaining) < set(range(12))
    for values, expected in zip(got.estimates, full, strict=True):
        np.testing.assert_array_equal(values, expected[got.remaining])
    ended = np.setdiff1d(np.arange(12), got.remaining)
    assert set(got.num_samples[ended]) <= {16, 64}
    np.testing.assert_array_equal(got.num_samples[got.remaining], full.num_samples[got.remaining])


def test_a_screen_with_exact_weights_ends_every_row_above_its_threshold():
    """With the exact posterior the pilot has no error. Thresholds are in data units: the base counts."""
    network, engine = linear_engine()
    log_px = network.log_px(X)
    threshold = 5.0 + np.where(np.arange(12) % 3 == 0, log_px + 0.1, log_px - 0.1)
    got = engine.screen(inputs_of(X, base=5.0), 1024, threshold)
    np.testing.assert_array_equal(got.remaining, [0, 3, 6, 9])
    np.testing.assert_allclose(got.estimates.log_px, 5.0 + log_px[::3], atol=1e-4)


def test_a_screen_of_clear_rows_estimates_none():
    _, engine = linear_engine()
    got = engine.screen(inputs_of(X), 1024, np.full(12, -1e9))
    assert got.remaining.size == got.estimates.log_px.size == 0
    np.testing.assert_array_equal(got.num_samples, 16)


def test_networks_of_one_model_match_and_those_of_two_models_do_not():
    """log p(x, z) of log_joint against decoder and likelihood; a moved decoder changes it by more than 1 %."""
    network, engine = linear_engine()
    assert engine.joint_mismatch(inputs_of(X)).max() < 1e-6
    network.decode = lambda z: LinearNetwork.decode(network, z) + np.float32(0.5)
    assert engine.joint_mismatch(inputs_of(X)).min() > 0.01


def test_encode_returns_the_means_of_the_encoder():
    network, engine = linear_engine(shift=0.5)
    expected = network.posterior_mean(X) + 0.5 / np.sqrt(network.precision)
    np.testing.assert_allclose(engine.encode(inputs_of(X)), expected, rtol=1e-5, atol=1e-5)
