"""An ensemble: the mean of its members' densities, in one budget, with the guarantees of a single model."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp

from anomaly_vae.bundle.files import read_bundle, write_bundle
from anomaly_vae.density.ensemble import combined_error, ensemble_estimates, log_mean_exp, shares_of
from anomaly_vae.density.estimates import Estimates
from anomaly_vae.density.estimator import DensityEstimator, Precision
from anomaly_vae.errors import ConfigError
from anomaly_vae.scorer import Scorer
from anomaly_vae.training.noise import sobol_normal
from tests.support.data import make_rows
from tests.support.exact_models import on_a_grid, student
from tests.support.models import features_of, member_of, rows_of, vae_of

NAMES = ("gaussian", "student_t", "categorical", "logistic")


def members(latent_dims=(1, 2)):
    made = []
    for seed, latent_dim in enumerate(latent_dims):
        vae = vae_of(*NAMES, seed=seed, latent_dim=latent_dim, wild=1.0)
        made.append(member_of(vae, features_of(*NAMES, vae=vae)))
    return made


def test_the_density_is_the_mean_of_the_members_densities():
    """Each member has its own half of the points."""
    noise = sobol_normal(16, 256, 4, seed=0)
    both = members()
    rows = rows_of(30, *NAMES)
    halves = zip(both, np.split(noise, 2, axis=1), strict=True)
    alone = [DensityEstimator([member], half).estimate_fixed(rows, 512).log_px for member, half in halves]
    combined = DensityEstimator(both, noise).estimate_fixed(rows, 1024)
    np.testing.assert_allclose(combined.log_px, logsumexp(alone, axis=0) - np.log(2.0), rtol=1e-12)
    assert np.all(combined.elbo <= combined.log_px)
    assert np.all(combined.num_samples <= 1024)
    assert np.all(combined.num_samples > 512)


def test_the_error_target_holds_for_the_ensemble():
    """The exact density is the mean of the members', each by many samples of its own."""
    noise = sobol_normal(16, 256, 4, seed=0)
    both, rows = members(), rows_of(60, *NAMES)
    exact = logsumexp([on_a_grid_of(member, seed, rows) for seed, member in enumerate(both)], axis=0) - np.log(2.0)
    for target_error in (0.2, 0.05):
        got = DensityEstimator(both, noise).estimate(rows, Precision(target_error, 4096))
        assert np.mean(got.std_error <= target_error) > 0.95
        assert np.mean(np.abs(got.log_px - exact) <= student(got.std_error)) >= 0.97
        assert np.all(got.elbo <= got.log_px)


def on_a_grid_of(member, seed, rows):
    inputs = member.features.encode(rows)
    vae = vae_of(*NAMES, seed=seed, latent_dim=member.latent_dim, wild=1.0)
    return on_a_grid(vae, inputs.x, inputs.mask) + inputs.base


def test_a_member_with_no_share_of_the_density_does_not_affect_the_error():
    """Its invalid error must not make the ensemble's error invalid, and its own must not be used."""

    def estimates(log_px, error, reliable):
        one = np.ones(1)
        return Estimates(
            log_px=log_px * one, elbo=(log_px - 1.0) * one, std_error=error * one, ess_ratio=0.5 * one,
            pareto_k=0.2 * one, reliable=np.array([reliable]), num_samples=np.array([512]),
        )  # fmt: skip

    good, far = estimates(-5.0, 0.01, True), estimates(-60.0, np.nan, False)
    combined = ensemble_estimates([good, far])
    assert combined.log_px[0] == pytest.approx(-5.0 - np.log(2.0))
    assert combined.std_error[0] == pytest.approx(0.01)
    assert combined.reliable[0]
    assert combined.ess_ratio[0] == pytest.approx(0.25)
    assert combined.num_samples[0] == 1024
    equal = ensemble_estimates([good, estimates(-5.0, 0.03, True)])
    assert equal.std_error[0] == pytest.approx(0.5 * np.hypot(0.01, 0.03))
    assert not ensemble_estimates([good, estimates(-5.0, np.nan, False)]).reliable[0]


def test_shares_are_those_of_the_members_densities():
    log_px = np.array([[-5.0, 0.0, -900.0], [-5.0, -4.0, -np.inf], [-5.0, -9.0, -np.inf]])
    total = log_mean_exp(log_px)
    shares, counts = shares_of(log_px, total)
    np.testing.assert_allclose(shares, np.exp(log_px - logsumexp(log_px, axis=0)), rtol=1e-9)
    assert counts.tolist() == [[True, True, True], [True, True, False], [True, False, False]]
    np.testing.assert_allclose(total, logsumexp(log_px, axis=0) - np.log(3.0), rtol=1e-12)


def test_the_errors_of_members_that_count_add_in_quadrature():
    """Members have different points. An error that is not valid makes the sum invalid, if its member counts."""
    errors = np.array([[0.3, 0.3, np.nan], [0.4, np.nan, 0.1]])
    counts = np.array([[True, True, True], [True, False, True]])
    np.testing.assert_allclose(combined_error(errors, counts), [0.5, 0.3, np.nan])


def test_two_copies_of_a_model_have_a_smaller_error_than_one_with_as_many_samples_each():
    """Independent errors: the mean of two estimates has an error smaller by the square root of two, and it holds.

    The rows share the points, so their errors are nearly equal. 32 sets of points give errors to compare.
    """
    (member, _), rows = members((2, 2)), rows_of(80, *NAMES)
    exact = on_a_grid_of(member, 0, rows)
    stated, errors = [], []
    for seed in range(32):
        noise = sobol_normal(16, 256, 4, seed=seed)
        one = DensityEstimator([member], noise).estimate_fixed(rows, 512)
        two = DensityEstimator([member, member], noise).estimate_fixed(rows, 1024)
        stated.append((one.std_error, two.std_error))
        errors.append((one.log_px - exact, two.log_px - exact))
    (one_stated, two_stated), (one_error, two_error) = np.moveaxis([stated, errors], 2, 1)
    assert np.median(two_stated / one_stated) == pytest.approx(np.sqrt(0.5), abs=0.05)
    rms = [np.sqrt(np.mean(np.square(each))) for each in (one_error, two_error)]
    assert rms[1] < 0.9 * rms[0]
    assert np.mean(np.abs(two_error) <= student(two_stated)) >= 0.97


def test_a_row_has_one_score_under_an_ensemble_and_its_flags_are_a_subset_of_those_of_the_score():
    noise = sobol_normal(16, 256, 4, seed=0)
    one, two = (DensityEstimator(members((2, 3)), noise, threads=threads) for threads in (1, 2))
    rows, precision = rows_of(60, *NAMES), Precision(0.05, 4096)
    for call in (lambda each, rows: each.estimate(rows, precision), lambda each, rows: each.estimate_fixed(rows, 1024)):
        whole = call(one, rows)
        for part in ([7], np.arange(20, 37), np.random.default_rng(0).permutation(60)):
            for values, expected in zip(call(two, rows[part]), whole, strict=True):
                np.testing.assert_array_equal(values, expected[part])
    whole = one.estimate(rows, precision)
    threshold = float(np.quantile(whole.log_px, 0.2))
    decisions = two.decide(rows, precision, np.full(60, threshold))
    below = decisions.log_px < threshold
    assert below.any()
    assert not np.any(below & (whole.log_px >= threshold))
    np.testing.assert_array_equal(decisions.log_px[below], whole.log_px[below])
    assert decisions.num_samples.mean() < whole.num_samples.mean()


def test_each_member_gets_a_share_of_the_budget():
    estimator = DensityEstimator(members(), sobol_normal(16, 64, 4, seed=0))
    assert estimator.budgets == (32, 64, 128, 256, 512, 1024)
    with pytest.raises(ConfigError, match="32, 64"):
        estimator.estimate_fixed(rows_of(1, *NAMES), 16)


def test_an_ensemble_has_the_same_scores_after_a_bundle_is_written_and_read(ensemble, tmp_path):
    """The default ensemble has two likelihoods: heavy tails and cells of a grid."""
    bundle = ensemble.bundle
    write_bundle(bundle, tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").glob("*.onnx")) == sorted(
        f"{graph}{suffix}.onnx"
        for graph in ("encoder", "decoder", "log_joint", "posterior", "likelihood")
        for suffix in ("", "-2")
    )
    rows = make_rows(40, seed=5)
    before, after = Scorer(bundle), Scorer(read_bundle(tmp_path / "model"))
    np.testing.assert_array_equal(before.score(rows).log_px, after.score(rows).log_px)
    heads = [{type(column.head).__name__ for column in member.columns} for member in bundle.manifest.members]
    assert "StudentTHead" in heads[0]
    assert "StudentTHead" not in heads[1]
    assert before.encode(rows).shape == (40, sum(member.architecture.latent_dim for member in bundle.manifest.members))
    assert before.sample(1000, seed=1).shape == (1000, 5)
