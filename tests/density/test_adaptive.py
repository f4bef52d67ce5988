"""The quick and the thorough phase: which rows end where, what they cost, and how members share the work."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.columns.features import Inputs
from anomaly_vae.columns.heads.gaussian import GaussianLikelihood
from anomaly_vae.columns.heads.student_t import StudentTLikelihood
from anomaly_vae.density.adaptive import QUICK_PHASE, THOROUGH_PHASE, Phase, run_phase
from anomaly_vae.density.diagnostics import has_light_tail
from anomaly_vae.density.engine import FIRST_POINTS, Engine
from anomaly_vae.density.fitting import ProposalFitter
from anomaly_vae.density.noise import Noise
from anomaly_vae.density.precision import Precision
from anomaly_vae.training.noise import sobol_normal
from tests.support.exact_models import LinearNetwork
from tests.support.models import features_of, member_of, rows_of, vae_of
from tests.support.networks import FunctionNetwork
from tests.support.partials import flat
from tests.support.same_bits import assert_rows_stand_alone

NOISE = Noise(sobol_normal(16, 256, 3, seed=0))
X = np.random.default_rng(3).normal(size=(12, 5)) * 2.0
NOWHERE = np.full(12, -np.inf)
TARGET = Precision(target_error=0.1, num_samples=4096)
IMPOSSIBLE = Precision(target_error=1e-9, num_samples=4096)


def ensemble(*options):
    """Return linear models with engines and inputs."""
    networks = [LinearNetwork(**each) for each in options]
    engines = [Engine(each, NOISE, each.of_params, adaptive=True) for each in networks]
    return networks, engines, [Inputs(X, np.ones_like(X), np.full(12, 5.0)) for _ in networks]


def quick_phase(engines, inputs, precision, careful_below=NOWHERE):
    return run_phase(QUICK_PHASE, engines, inputs, precision, careful_below)


def thorough_phase(engines, inputs, precision, careful_below, known):
    return run_phase(THOROUGH_PHASE, engines, inputs, precision, careful_below, _copy(known))


def phases(engines, inputs, precision, careful_below=NOWHERE):
    quick = quick_phase(engines, inputs, precision, careful_below)
    return quick, thorough_phase(engines, inputs, precision, careful_below, quick)


def _copy(partial):
    return partial.take(np.arange(len(partial.is_certified)))


def test_rows_of_an_easy_model_end_in_the_quick_phase():
    (network,), engines, inputs = ensemble({"shift": 1.0, "width": 1.5})
    got = quick_phase(engines, inputs, TARGET)
    assert got.is_certified.all()
    (estimates,) = got.estimates
    np.testing.assert_allclose(estimates.log_px, 5.0 + network.log_px(X), atol=0.3)
    np.testing.assert_allclose(got.log_px(), estimates.log_px)
    assert np.all(estimates.std_error <= 0.1)
    assert np.all(has_light_tail(estimates.pareto_k, estimates.num_samples))
    np.testing.assert_array_equal(estimates.num_samples, FIRST_POINTS * 16)
    assert np.all(got.spent < 400)


def test_rows_below_the_limit_end_their_quick_phase_without_samples():
    """They are sampled in the thorough phase. Until then they have the evidence of the fit, and are not certified."""
    (network,), engines, inputs = ensemble({"shift": 1.0, "width": 1.5})
    log_px = 5.0 + network.log_px(X)
    below = np.arange(12) % 3 == 0
    limits = np.where(below, log_px + 1.0, log_px - 1.0)
    got = quick_phase(engines, inputs, TARGET, limits)
    np.testing.assert_array_equal(got.is_certified, ~below)
    np.testing.assert_allclose(got.log_px(), log_px, atol=0.3)
    assert got.spent[0, below].max() < got.spent[0, ~below].min()
    strict = quick_phase(engines, inputs, IMPOSSIBLE, limits)
    assert not strict.is_certified.any()
    assert strict.spent[0, below].max() < strict.spent[0, ~below].min()


def test_rows_that_miss_the_target_go_on_through_all_rounds():
    (network,), engines, inputs = ensemble({"shift": 1.0, "width": 1.5})
    quick, thorough = phases(engines, inputs, IMPOSSIBLE)
    assert not quick.is_certified.any()
    assert not thorough.is_certified.any()
    assert np.all(thorough.spent <= 4096)
    for phase, partial in ((QUICK_PHASE, quick), (THOROUGH_PHASE, thorough)):
        np.testing.assert_array_equal(partial.estimates[0].num_samples, 16 * phase.rounds[-1][-1])
    # Samples behind a refit are spent, though they do not enter the estimates.
    assert np.all(thorough.spent > quick.spent + thorough.estimates[0].num_samples)
    np.testing.assert_allclose(thorough.final().log_px, 5.0 + network.log_px(X), atol=0.03)
    assert np.all(thorough.final().std_error < quick.final().std_error)


@pytest.mark.parametrize("target_error", [0.2, 0.05])
def test_a_thorough_row_ends_when_it_meets_the_target(target_error):
    """Nearly all rows do; a smaller target takes more samples."""
    _, engines, inputs = ensemble({"shift": 1.0, "width": 1.5})
    _, thorough = phases(engines, inputs, Precision(target_error, 4096), np.full(12, np.inf))
    _, finest = phases(engines, inputs, IMPOSSIBLE, np.full(12, np.inf))
    final = thorough.final()
    assert np.mean(final.std_error <= target_error) > 0.9
    assert np.all(thorough.spent <= finest.spent)
    assert thorough.spent.sum() < 0.8 * finest.spent.sum()


def test_the_thorough_estimates_do_not_depend_on_the_quick_samples():
    """Quick samples that chose the rows would bias them."""
    _, engines, inputs = ensemble({"shift": 1.0, "width": 1.5})
    quick = quick_phase(engines, inputs, TARGET)
    expected = thorough_phase(engines, inputs, TARGET, np.full(12, np.inf), quick)
    garbage = _copy(quick)
    for values in garbage.estimates[0][:5]:
        values[:] = -3.0
    got = thorough_phase(engines, inputs, TARGET, np.full(12, np.inf), garbage)
    for values, wanted in zip(got.estimates[0], expected.estimates[0], strict=True):
        np.testing.assert_array_equal(values, wanted)
    assert np.all(got.estimates[0].log_px != quick.estimates[0].log_px)


def test_only_members_that_may_count_get_a_thorough_fit():
    """The noise of the second model is a fifth of the data's: it is hundreds of nats below the first.

    It is not sampled at all. Where log p(x) is below the limit, all members get a thorough fit.
    """
    networks, engines, inputs = ensemble({"shift": 1.0}, {"shift": 1.0, "noise": 0.1})
    assert np.all(networks[1].log_px(X) < networks[0].log_px(X) - 20.0)
    quick, thorough = phases(engines, inputs, IMPOSSIBLE)
    assert np.all(thorough.spent[0] > quick.spent[0])
    np.testing.assert_array_equal(thorough.spent[1], quick.spent[1])
    np.testing.assert_array_equal(thorough.estimates[1].log_px, quick.estimates[1].log_px)
    assert np.all(quick.spent[1] < quick.spent[0])
    np.testing.assert_allclose(quick.estimates[1].log_px, 5.0 + networks[1].log_px(X), atol=0.5)
    below = np.where(np.arange(12) < 4, np.inf, -np.inf)
    _, careful = phases(engines, inputs, TARGET, below)
    assert np.all(careful.spent[1, :4] > quick.spent[1, :4])
    np.testing.assert_array_equal(careful.spent[1, 4:], quick.spent[1, 4:])


class Fits(list):
    """The starts, whether they are thorough, and the results of all fits."""

    def __init__(self, monkeypatch):
        original = ProposalFitter.fit

        def spy(fitter, rows, first, effort):
            fit = original(fitter, rows, first, effort)
            self.append((rows, first.copy(), effort == fitter.thorough, fit))
            return fit

        monkeypatch.setattr(ProposalFitter, "fit", spy)


def test_a_thorough_fit_starts_from_the_mode_of_the_quick_one(monkeypatch):
    """The quick fit starts from the encoder's mean, which is 1.5 standard deviations off."""
    (network,), engines, inputs = ensemble({"shift": 1.5})
    fits = Fits(monkeypatch)
    quick, thorough = phases(engines, inputs, IMPOSSIBLE)
    (rows, first, is_thorough, fit), (_, again, is_thorough_too, last) = fits
    assert (is_thorough, is_thorough_too) == (False, True)
    np.testing.assert_array_equal(first, rows.loc)
    np.testing.assert_array_equal(quick.modes[0], fit.mixture.loc[:, 0].astype(np.float32))
    np.testing.assert_array_equal(again, quick.modes[0])
    np.testing.assert_allclose(again, network.posterior_mean(X), atol=1e-3)
    np.testing.assert_array_equal(thorough.modes[0], last.mixture.loc[:, 0].astype(np.float32))
    # The samples of the encoder, and its part in the proposal, are where they were.
    np.testing.assert_array_equal(last.mixture.encoder_loc, rows.loc)


def test_each_row_and_member_keeps_its_own_mode(monkeypatch):
    """Four rows, and not the first ones, get a thorough fit of the second member."""
    _, engines, inputs = ensemble({"shift": 1.0}, {"shift": 1.5, "noise": 0.1})
    below = np.where(np.arange(12) % 3 == 1, np.inf, -np.inf)
    fits = Fits(monkeypatch)
    quick, thorough = phases(engines, inputs, IMPOSSIBLE, below)
    firsts = [first for _, first, is_thorough, _ in fits if is_thorough]
    assert [len(first) for first in firsts] == [12, 4]
    np.testing.assert_array_equal(firsts[0], quick.modes[0])
    np.testing.assert_array_equal(firsts[1], quick.modes[1][1::3])
    left = np.arange(12) % 3 != 1
    np.testing.assert_array_equal(thorough.modes[1][left], quick.modes[1][left])
    np.testing.assert_array_equal(thorough.modes[1][~left], fits[-1][3].mixture.loc[:, 0].astype(np.float32))


def test_without_a_fit_the_mode_is_the_encoder_s_mean():
    networks, _, inputs = ensemble({"shift": 1.5})
    engines = [Engine(each, NOISE, each.of_params, adaptive=False) for each in networks]
    got = quick_phase(engines, inputs, TARGET)
    np.testing.assert_array_equal(got.modes[0], engines[0].encode(inputs[0]).loc)


def test_the_members_share_the_cap():
    _, engines, inputs = ensemble({"shift": 1.0, "width": 1.5}, {"shift": 1.2, "width": 1.5})
    _, thorough = phases(engines, inputs, IMPOSSIBLE)
    assert np.all(thorough.spent <= 2048)
    assert np.all(thorough.final().num_samples <= 4096)
    np.testing.assert_array_equal(thorough.final().num_samples, thorough.spent.sum(axis=0))


def test_an_ensemble_of_equal_members_has_their_density():
    (network, _), engines, inputs = ensemble({"shift": 1.0}, {"shift": -1.0})
    _, thorough = phases(engines, inputs, Precision(0.02, 4096))
    final = thorough.final()
    np.testing.assert_allclose(final.log_px, 5.0 + network.log_px(X), atol=0.1)
    assert np.mean(final.std_error <= 0.02) > 0.9


def test_the_elbo_is_the_encoder_s_in_both_phases_and_a_bound():
    """The encoder is off by 1.5 standard deviations in both dimensions: KL(q || p) is 2.25 nats."""
    (network,), engines, inputs = ensemble({"shift": 1.5})
    quick, thorough = phases(engines, inputs, TARGET)
    np.testing.assert_array_equal(quick.elbo, thorough.elbo)
    np.testing.assert_allclose(quick.final().elbo, 5.0 + network.log_px(X) - 2.25, atol=0.4)
    exact = ensemble({})
    final = quick_phase(*exact[1:], TARGET).final()
    assert np.all(final.elbo <= final.log_px), "without a gap, sampling errors must not put it above log p(x)"


def heavy_tailed():
    """Return an engine and inputs of a model whose posterior is Student's t, nearly: its tails end at the prior's."""
    network = FunctionNetwork(
        lambda z: z,
        StudentTLikelihood([np.log(0.05)] * 2, [2.1] * 2),
        lambda x, mask: (0.9 * x, np.full_like(x, 2.0 * np.log(0.06))),
    )
    x = np.random.default_rng(0).normal(size=(60, 2))
    return [Engine(network, NOISE, network.of_params, adaptive=True)], [Inputs(x, np.ones_like(x), np.zeros(60))]


def test_a_row_with_a_heavy_tail_of_weights_is_not_certified_though_its_error_is_small():
    """After 1,024 samples of Gaussian proposals, whose tails are known to be too light."""
    engines, inputs = heavy_tailed()
    one_round = Phase(thorough=False, rounds=((64,),))
    got = run_phase(one_round, engines, inputs, Precision(0.3, 4096), np.full(60, -np.inf))
    (estimates,) = got.estimates
    small, light = estimates.std_error <= 0.3, has_light_tail(estimates.pareto_k, estimates.num_samples)
    assert np.any(small & ~light)
    np.testing.assert_array_equal(got.is_certified, small & light)


def test_the_thorough_proposal_has_heavy_tails_of_its_own():
    """Its weights then have light tails, where those of the quick one have heavy ones; 256 samples of each."""
    engines, inputs = heavy_tailed()
    share = []
    for thorough in (False, True):
        got = run_phase(Phase(thorough, rounds=((16,),)), engines, inputs, IMPOSSIBLE, np.full(60, -np.inf))
        share.append(np.mean(got.estimates[0].pareto_k > 0.7))
    assert share[0] > 0.1
    assert share[1] < 0.5 * share[0]


def test_a_refit_certifies_rows_with_fewer_samples():
    """A curved posterior: the Gaussian around its mode is wrong, that of the weighted samples is better."""
    network = FunctionNetwork(
        lambda z: np.stack([z[..., 0], z[..., 1] + 0.8 * z[..., 0] ** 2], axis=-1),
        GaussianLikelihood([0.0, -3.0]),
        lambda x, mask: (np.zeros_like(x), np.zeros_like(x)),
    )
    engines = [Engine(network, NOISE, network.of_params, adaptive=True)]
    x = np.random.default_rng(0).normal(size=(40, 2))
    inputs, nowhere = [Inputs(x, np.ones_like(x), np.zeros(40))], np.full(40, -np.inf)
    plain, refitted = (
        run_phase(Phase(thorough=False, rounds=rounds), engines, inputs, IMPOSSIBLE, nowhere).estimates[0]
        for rounds in (((8, 32),), ((8,), (32,)))
    )
    np.testing.assert_array_equal(refitted.num_samples, plain.num_samples)
    assert np.median(refitted.std_error / plain.std_error) < 0.9


def test_the_samples_behind_a_refit_are_spent_and_do_not_enter_the_estimates():
    """They would bias them. The pilot's samples belong to every proposal."""
    _, engines, inputs = ensemble({"shift": 1.0, "width": 1.5})
    whole, two = (
        run_phase(Phase(thorough=False, rounds=rounds), engines, inputs, IMPOSSIBLE, NOWHERE)
        for rounds in (((8,),), ((8,), (8,)))
    )
    np.testing.assert_array_equal(whole.estimates[0].num_samples, 8 * 16)
    np.testing.assert_array_equal(two.estimates[0].num_samples, 8 * 16)
    np.testing.assert_array_equal(two.spent - whole.spent, 8 * 16)
    assert np.all(two.estimates[0].log_px != whole.estimates[0].log_px)


@pytest.mark.parametrize("cap", [64, 128, 256, 512, 1024])
def test_no_phase_spends_more_than_the_members_shares_of_the_cap(cap):
    """Rounds that a row cannot pay are left out, and so is a thorough fit."""
    for count in (1, 2, 4):
        _, engines, inputs = ensemble(*[{"shift": 1.0, "width": 1.5}] * count)
        if engines[0].affords_quick_phase(cap // count):
            for limit in (-np.inf, np.inf):
                for partial in phases(engines, inputs, Precision(1e-9, cap), np.full(12, limit)):
                    assert partial.spent.max() <= cap // count


def test_a_thorough_fit_is_left_out_where_the_cap_cannot_pay_it():
    _, engines, inputs = ensemble({"shift": 1.0, "width": 1.5})
    (engine,) = engines
    cap = engine.most_evaluations(thorough=False) + FIRST_POINTS * 16
    assert cap < engine.most_evaluations(thorough=True)
    quick, thorough = phases(engines, inputs, Precision(1e-9, cap))
    for values, expected in zip(flat(thorough), flat(quick), strict=True):
        np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("names", [("student_t", "gaussian", "logistic", "count")])
def test_a_row_s_phases_do_not_depend_on_the_other_rows(names):
    """Bit for bit: under two members, with rows that end in every round."""
    engines, features = [], []
    for seed, latent_dim in enumerate((2, 3)):
        vae = vae_of(*names, seed=seed, latent_dim=latent_dim)
        features.append(features_of(*names, vae=vae))
        member = member_of(vae, features[-1])
        noise = Noise(sobol_normal(16, 256, 4, seed=0)).of_member(seed, 2, latent_dim)
        engines.append(Engine(member.network, noise, member.likelihood))
    rows, precision = rows_of(40, *names), Precision(0.05, 4096)
    rows[::6, 0] += 3.0
    limits = np.where(np.arange(40) % 5 == 0, np.inf, -np.inf)

    def call(chosen):
        inputs = [each.encode(rows[chosen]) for each in features]
        return tuple(
            values
            for each in phases(engines, inputs, precision, limits[chosen])
            for values in (*flat(each), each.log_px())
        )

    assert_rows_stand_alone(call, 40, steps=(4, 12))
