"""One model: fixed budgets, the encoder alone, the screen for flags, and whether graphs fit together."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.bundle.members import open_members
from anomaly_vae.columns.features import Inputs
from anomaly_vae.density.engine import FIRST_POINTS, PILOT_POINTS, Engine
from anomaly_vae.density.estimator import DensityEstimator, Precision
from anomaly_vae.density.noise import Noise
from anomaly_vae.density.runtime import OnnxNetwork
from anomaly_vae.density.sampler import MixtureSampler
from anomaly_vae.training.noise import sobol_normal
from tests.support.data import make_rows
from tests.support.exact_models import LinearNetwork, estimator_of, student, untrained, wrong_encoder
from tests.support.models import ALL, features_of, member_of, rows_of, vae_of
from tests.support.same_bits import assert_rows_stand_alone

NOISE = sobol_normal(16, 64, 3, seed=0)


def linear_engine(adaptive=True, **options):
    network = LinearNetwork(**options)
    return network, Engine(network, Noise(NOISE), network.of_params, adaptive=adaptive)


def inputs_of(x, base=0.0):
    return Inputs(x, np.ones_like(x), np.full(len(x), base))


X = np.random.default_rng(3).normal(size=(12, 5)) * 2.0


def test_a_wrong_encoder_gives_small_errors_with_a_fixed_budget():
    """The proposal is fitted to the row, and the stated errors cover the exact value."""
    exact, vae, rows = wrong_encoder()
    got = estimator_of(vae).estimate_fixed(rows, 1024)
    error = np.abs(got.log_px - exact)
    assert np.median(error) < 0.02
    assert np.mean(error <= student(got.std_error)) >= 0.97
    assert got.reliable.mean() > 0.97


@pytest.mark.parametrize("num_samples", [16, 64, 128, 256, 512, 1024, 4096])
def test_a_fixed_budget_is_never_exceeded_and_mostly_spent(num_samples):
    """Fits take at most half of it, and end early for many rows."""
    _, vae, rows = wrong_encoder()
    got = estimator_of(vae, points=256).estimate_fixed(rows, num_samples)
    assert got.num_samples.max() <= num_samples
    assert got.num_samples.min() >= num_samples // 2


def test_a_budget_too_small_for_a_fit_is_spent_on_the_encoder():
    """The estimate then is that of the encoder alone, bit for bit, and its ELBO has all samples."""
    _, engine = linear_engine(shift=0.4, width=1.4)
    assert engine.affordable_effort(32) is None
    got, plain = engine.estimate_fixed(inputs_of(X), 32), engine.estimate_plain(inputs_of(X), 32)
    for values, expected in zip(got, plain, strict=True):
        np.testing.assert_array_equal(values, expected)
    _, never = linear_engine(adaptive=False, shift=0.4, width=1.4)
    assert never.fitter is None
    got, plain = never.estimate_fixed(inputs_of(X), 1024), engine.estimate_plain(inputs_of(X), 1024)
    for values, expected in zip(got, plain, strict=True):
        np.testing.assert_array_equal(values, expected)


def test_the_plain_estimate_never_fits():
    network, engine = linear_engine(shift=3.0)
    plain, fixed = engine.estimate_plain(inputs_of(X), 1024), engine.estimate_fixed(inputs_of(X), 1024)
    np.testing.assert_allclose(fixed.log_px, network.log_px(X), atol=0.05)
    assert np.median(plain.std_error) > 3.0 * np.median(fixed.std_error)
    np.testing.assert_array_equal(plain.num_samples, 1024)


def test_the_elbo_is_a_lower_bound_from_the_encoder_s_samples():
    """KL(q || p) of an encoder that is off by 1.5 standard deviations in both dimensions is 2.25 nats."""
    network, engine = linear_engine(shift=1.5)
    for estimates in (engine.estimate_fixed(inputs_of(X), 1024), engine.estimate_plain(inputs_of(X), 1024)):
        np.testing.assert_allclose(estimates.elbo, network.log_px(X) - 2.25, atol=0.4)
        assert np.all(estimates.elbo <= estimates.log_px)


def test_the_base_shifts_log_px_and_elbo_and_nothing_else():
    """The terms of log p(x) that do not depend on z, such as the units of the columns."""
    network, engine = linear_engine()
    for budget, effort in ((16, None), (128, engine.fitter.quick), (1024, engine.fitter.thorough)):
        assert engine.affordable_effort(budget) == effort
        plain, shifted = (engine.estimate_fixed(inputs_of(X, base=base), budget) for base in (0.0, 5.0))
        np.testing.assert_allclose(plain.log_px, network.log_px(X), atol=0.05)
        np.testing.assert_array_equal(shifted.log_px, plain.log_px + 5.0)
        np.testing.assert_array_equal(shifted.elbo, plain.elbo + 5.0)
        np.testing.assert_array_equal(shifted.std_error, plain.std_error)


def test_samplers_of_mixtures_are_apart_by_the_number_of_modes_and_hold_every_row_once():
    names = ("student_t", "student_t", "gaussian")
    vae = vae_of(*names, latent_dim=2, wild=4.0)
    features = features_of(*names, vae=vae)
    member = member_of(vae, features)
    engine = Engine(member.network, Noise(NOISE), member.likelihood, adaptive=True)
    rows = engine.encode(features.encode(rows_of(80, *names)))
    pilot = engine.encoder_sampler(rows)
    pilot.extend(PILOT_POINTS)
    mixture, log_joint = engine.fitter.fit(rows, rows.loc, engine.fitter.thorough).mixture, pilot.log_joint()
    assert np.unique(mixture.num_modes).size > 2
    samplers = engine.mixture_samplers(rows, mixture, log_joint, heavy=True)
    assert len(samplers) == 2
    np.testing.assert_array_equal(np.sort(np.concatenate([where for where, _ in samplers])), np.arange(80))
    for where, sampler in samplers:
        assert sampler.num_rows == len(where)
        np.testing.assert_array_equal(sampler.rows.x, rows.x[where])
    few, many = (mixture.num_modes[where] for where, _ in samplers)
    assert few.max() < many.min()
    # A row has the same weights with and without places for more modes.
    where, sampler = samplers[0]
    whole = MixtureSampler(member.network, Noise(NOISE), rows, mixture, log_joint, heavy=True)
    for each in (sampler, whole):
        each.extend(4)
    np.testing.assert_allclose(whole.log_weights()[0][where], sampler.log_weights()[0], rtol=1e-9)


def test_the_quick_phase_is_affordable_from_a_fit_and_its_first_samples_on():
    _, engine = linear_engine()
    quick = engine.most_evaluations(thorough=False)
    assert 0 < quick < engine.most_evaluations(thorough=True)
    least = quick + FIRST_POINTS * engine.scramblings
    assert engine.affords_quick_phase(least)
    assert not engine.affords_quick_phase(least - 1)
    _, never = linear_engine(adaptive=False)
    assert not never.affords_quick_phase(10**6)
    assert never.most_evaluations(thorough=True) == 0
    assert never.affordable_effort(10**6) is None


def test_extra_starts_are_those_of_quick_fits():
    engines = [Engine(LinearNetwork(), Noise(NOISE), LinearNetwork().of_params, extra_starts=n) for n in (0, 2)]
    quick, thorough = ([each.most_evaluations(thorough=thorough) for each in engines] for thorough in (False, True))
    assert quick[0] < quick[1]
    assert thorough[0] == thorough[1]


def test_a_screen_ends_clear_rows_after_16_or_64_samples():
    network, engine = linear_engine(width=1.3)
    threshold = np.full(12, float(np.median(network.log_px(X))))
    got = engine.screen(inputs_of(X), threshold)
    assert np.all(got.remains[network.log_px(X) < threshold - 0.1])
    assert 0 < got.remains.sum() < 12
    assert set(got.spent[~got.remains]) <= {16, 64}
    assert set(got.spent[got.remains]) == {64}


def test_a_screen_with_exact_weights_ends_every_row_above_its_threshold():
    """With the exact posterior the samples have no error. Thresholds are in data units: the base counts."""
    network, engine = linear_engine()
    threshold = 5.0 + network.log_px(X) + np.where(np.arange(12) % 3 == 0, 0.1, -0.1)
    got = engine.screen(inputs_of(X, base=5.0), threshold)
    np.testing.assert_array_equal(np.flatnonzero(got.remains), [0, 3, 6, 9])


def test_a_screen_of_clear_rows_takes_16_samples():
    _, engine = linear_engine()
    got = engine.screen(inputs_of(X), np.full(12, -1e9))
    assert not got.remains.any()
    np.testing.assert_array_equal(got.spent, 16)


GRAPHS = ("decode", "log_joint", "posterior", "likelihood")


@pytest.mark.parametrize("moved", [None, *GRAPHS])
def test_graphs_of_one_model_match_and_those_of_two_models_do_not(moved):
    """log p(x, z) of each graph against decoder and heads. Another bias changes it by more than 1 %."""
    network, engine = linear_engine()
    if moved == "decode":
        network.decode = lambda z: LinearNetwork.decode(network, z) + np.float32(0.5)
    elif moved is not None:
        other = LinearNetwork()
        other.b = other.b + 0.5
        method = getattr(other, moved)
        if moved == "likelihood":
            setattr(network, moved, lambda x, mask, params: method(x, mask, params + np.float32(0.5)))
        else:
            setattr(network, moved, method)
    mismatch = engine.joint_mismatch(inputs_of(X))
    assert mismatch.shape == (12,)
    if moved is None:
        assert mismatch.max() < 1e-6
    else:
        assert mismatch.min() > 0.01


@pytest.mark.parametrize("name", ALL)
def test_the_graphs_of_every_head_match(name):
    vae = vae_of(name, "gaussian")
    features = features_of(name, "gaussian", vae=vae)
    member = member_of(vae, features)
    engine = Engine(member.network, Noise(NOISE), member.likelihood, adaptive=True)
    assert engine.joint_mismatch(features.encode(rows_of(20, name, "gaussian"))).max() < 1e-5


def test_encoded_rows_have_the_moments_of_the_encoder():
    network, engine = linear_engine(shift=0.5, width=1.5)
    rows = engine.encode(inputs_of(X))
    expected = network.posterior_mean(X) + 0.5 / np.sqrt(network.precision)
    np.testing.assert_allclose(rows.loc, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(rows.scale, np.tile(1.5 / np.sqrt(network.precision), (12, 1)), rtol=1e-5)
    np.testing.assert_array_equal(rows.x, X.astype(np.float32))


def test_the_elbo_has_one_point_of_every_scrambling():
    _, engine = linear_engine()
    sampler = engine.encoder_sampler(engine.encode(inputs_of(X)))
    sampler.extend(PILOT_POINTS)
    assert sampler.log_weights()[0].shape == (12, engine.scramblings, PILOT_POINTS)
    assert engine.num_points == 64


@pytest.mark.parametrize("latent_dim", [2, 9, 16])
@pytest.mark.parametrize("num_samples", [64, 256, 1024])
def test_a_row_s_fixed_budget_does_not_depend_on_the_other_rows(latent_dim, num_samples):
    """Every selection of rows gives the same bits, with 1 and 2 threads."""
    one, two = (estimator_of(untrained(20, latent_dim), threads=threads) for threads in (1, 2))
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(60, 20)) * rng.choice([0.1, 3.0, 30.0], size=(60, 1))
    assert_rows_stand_alone(lambda chosen: tuple(one.estimate_fixed(rows[chosen], num_samples)), 60, steps=(1, 7))
    for got, expected in zip(two.estimate_fixed(rows, num_samples), one.estimate_fixed(rows, num_samples), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_a_row_s_screen_does_not_depend_on_the_other_rows():
    vae = vae_of(*ALL, latent_dim=3)
    features = features_of(*ALL, vae=vae)
    member = member_of(vae, features)
    engine = Engine(member.network, Noise(sobol_normal(16, 64, 4, seed=0)), member.likelihood, adaptive=True)
    rows = rows_of(40, *ALL)
    thresholds = np.full(40, np.median(engine.estimate_plain(features.encode(rows), 256).log_px))

    def call(chosen):
        return tuple(engine.screen(features.encode(rows[chosen]), thresholds[chosen]))

    assert 0 < call(np.arange(40))[0].sum() < 40
    assert_rows_stand_alone(call, 40, steps=(1, 7))


class Nudged:
    """Networks with random errors in the last digit of float32, as of another machine."""

    def __init__(self, network: OnnxNetwork) -> None:
        self.network, self.rng = network, np.random.default_rng(0)
        self.call_sizes, self.batch_invariant = network.call_sizes, network.batch_invariant

    def __getattr__(self, name):
        def call(*inputs):
            outputs = getattr(self.network, name)(*inputs)
            if not isinstance(outputs, tuple):
                return self.nudge(outputs)
            nudged = map(self.nudge, outputs)
            return type(outputs)(*nudged) if hasattr(outputs, "_fields") else tuple(nudged)

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
    one, other = (each.estimate(rows, Precision(0.1, 4096)) for each in (here, there))
    difference = np.abs(one.log_px - other.log_px)
    assert np.median(difference) < 1e-3
    assert np.mean(difference <= 4 * np.hypot(one.std_error, other.std_error)) > 0.97
