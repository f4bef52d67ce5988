"""An ensemble: the mean of its members' densities, in one budget, with the guarantees of a single model."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp

from anomaly_vae.bundle.files import read_bundle, write_bundle
from anomaly_vae.density.ensemble import ensemble_estimates
from anomaly_vae.density.estimates import Estimates
from anomaly_vae.density.estimator import DensityEstimator
from anomaly_vae.errors import ConfigError
from anomaly_vae.scorer import Scorer
from anomaly_vae.training.noise import sobol_normal
from tests.support.data import make_rows
from tests.support.models import features_of, member_of, rows_of, vae_of

NAMES = ("gaussian", "student_t", "categorical", "logistic")


def members(latent_dims=(2, 3)):
    made = []
    for seed, latent_dim in enumerate(latent_dims):
        vae = vae_of(*NAMES, seed=seed, latent_dim=latent_dim, wild=1.0)
        made.append(member_of(vae, features_of(*NAMES, vae=vae)))
    return made


def test_the_density_is_the_mean_of_the_members_densities():
    noise = sobol_normal(16, 256, 3, seed=0)
    both = members()
    rows = rows_of(30, *NAMES)
    alone = [DensityEstimator([member], noise).estimate(rows, 512).log_px for member in both]
    combined = DensityEstimator(both, noise).estimate(rows, 1024)
    np.testing.assert_allclose(combined.log_px, logsumexp(alone, axis=0) - np.log(2.0), rtol=1e-12)
    assert np.all(combined.elbo <= combined.log_px)
    assert np.all(combined.num_samples <= 1024)
    assert np.all(combined.num_samples >= 1024 - 30)


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
    assert equal.std_error[0] == pytest.approx(0.02)
    assert not ensemble_estimates([good, estimates(-5.0, np.nan, False)]).reliable[0]


def test_a_row_has_one_score_under_an_ensemble_and_its_flags_are_a_subset_of_those_of_the_score():
    noise = sobol_normal(16, 256, 3, seed=0)
    one, two = (DensityEstimator(members(), noise, threads=threads) for threads in (1, 2))
    rows = rows_of(60, *NAMES)
    whole = one.estimate(rows, 1024)
    for part in ([7], np.arange(20, 37), np.random.default_rng(0).permutation(60)):
        for values, expected in zip(two.estimate(rows[part], 1024), whole, strict=True):
            np.testing.assert_array_equal(values, expected[part])
    threshold = float(np.quantile(whole.log_px, 0.2))
    decisions = two.decide(rows, 1024, np.full(60, threshold))
    below = decisions.log_px < threshold
    assert not np.any(below & (whole.log_px >= threshold))
    np.testing.assert_array_equal(decisions.log_px[below], whole.log_px[below])
    assert decisions.num_samples.mean() < 1024


def test_each_member_gets_a_share_of_the_budget():
    estimator = DensityEstimator(members(), sobol_normal(16, 64, 3, seed=0))
    assert estimator.budgets == (32, 64, 128, 256, 512, 1024)
    with pytest.raises(ConfigError, match="32, 64"):
        estimator.estimate(rows_of(1, *NAMES), 16)


def test_an_ensemble_has_the_same_scores_after_a_bundle_is_written_and_read(ensemble, tmp_path):
    """The default ensemble has two likelihoods: heavy tails and cells of a grid."""
    bundle = ensemble.bundle
    write_bundle(bundle, tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").glob("*.onnx")) == sorted(
        f"{graph}{suffix}.onnx" for graph in ("encoder", "decoder", "log_joint") for suffix in ("", "-2")
    )
    rows = make_rows(40, seed=5)
    before, after = Scorer(bundle), Scorer(read_bundle(tmp_path / "model"))
    np.testing.assert_array_equal(before.score(rows).log_px, after.score(rows).log_px)
    heads = [{type(column.head).__name__ for column in member.columns} for member in bundle.manifest.members]
    assert "StudentTHead" in heads[0]
    assert "StudentTHead" not in heads[1]
    assert before.encode(rows).shape == (40, sum(member.architecture.latent_dim for member in bundle.manifest.members))
    assert before.sample(1000, seed=1).shape == (1000, 5)
