"""A mixture of models: the mean of their densities, in one budget, with the same promises as one model."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp

from anomaly_vae.bundle import read_bundle, write_bundle
from anomaly_vae.engine import Estimates
from anomaly_vae.errors import ConfigError
from anomaly_vae.estimator import DensityEstimator
from anomaly_vae.mixture import mixture_estimates
from anomaly_vae.scorer import Scorer
from anomaly_vae.training.noise import sobol_normal
from tests.conftest import make_rows
from tests.models import features_of, member_of, rows_of, vae_of

NAMES = ("gaussian", "student_t", "categorical", "logistic")


def members(latent_dims=(2, 3)):
    found = []
    for seed, latent_dim in enumerate(latent_dims):
        vae = vae_of(*NAMES, seed=seed, latent_dim=latent_dim, wild=1.0)
        found.append(member_of(vae, features_of(*NAMES, vae=vae)))
    return found


def test_the_density_is_the_mean_of_the_members_densities():
    noise = sobol_normal(16, 256, 3, seed=0)
    parts = members()
    rows = rows_of(30, *NAMES)
    alone = [DensityEstimator([part], noise).estimate(rows, 512).log_px for part in parts]
    mixed = DensityEstimator(parts, noise).estimate(rows, 1024)
    np.testing.assert_allclose(mixed.log_px, logsumexp(alone, axis=0) - np.log(2.0), rtol=1e-12)
    assert np.all(mixed.elbo <= mixed.log_px)
    assert np.all(mixed.num_samples <= 1024)
    assert np.all(mixed.num_samples >= 1024 - 30)


def test_the_error_is_that_of_the_member_that_counts():
    """A member with no part in p(x) must not spoil the error, nor lend its own."""

    def estimates(log_px, error, reliable):
        one = np.ones(1)
        return Estimates(
            log_px=log_px * one, elbo=(log_px - 1.0) * one, std_error=error * one, ess_ratio=0.5 * one,
            pareto_k=0.2 * one, reliable=np.array([reliable]), num_samples=np.array([512]),
        )  # fmt: skip

    good, far = estimates(-5.0, 0.01, True), estimates(-60.0, np.nan, False)
    mixed = mixture_estimates([good, far])
    assert mixed.log_px[0] == pytest.approx(-5.0 - np.log(2.0))
    assert mixed.std_error[0] == pytest.approx(0.01)
    assert mixed.reliable[0]
    assert mixed.ess_ratio[0] == pytest.approx(0.25)
    assert mixed.num_samples[0] == 1024
    equal = mixture_estimates([good, estimates(-5.0, 0.03, True)])
    assert equal.std_error[0] == pytest.approx(0.02)
    assert not mixture_estimates([good, estimates(-5.0, np.nan, False)]).reliable[0]


def test_a_mixture_has_one_score_for_a_row_and_flags_are_among_those_of_the_score():
    noise = sobol_normal(16, 256, 3, seed=0)
    one, two = (DensityEstimator(members(), noise, threads=threads) for threads in (1, 2))
    rows = rows_of(60, *NAMES)
    whole = one.estimate(rows, 1024)
    for part in ([7], np.arange(20, 37), np.random.default_rng(0).permutation(60)):
        for values, expected in zip(two.estimate(rows[part], 1024), whole, strict=True):
            np.testing.assert_array_equal(values, expected[part])
    threshold = float(np.quantile(whole.log_px, 0.2))
    decided = two.decide(rows, 1024, np.full(60, threshold))
    below = decided.log_px < threshold
    assert not np.any(below & (whole.log_px >= threshold))
    np.testing.assert_array_equal(decided.log_px[below], whole.log_px[below])
    assert decided.num_samples.mean() < 1024


def test_each_member_gets_a_share_of_the_budget():
    estimator = DensityEstimator(members(), sobol_normal(16, 64, 3, seed=0))
    assert estimator.budgets == (32, 64, 128, 256, 512, 1024)
    with pytest.raises(ConfigError, match="32, 64"):
        estimator.estimate(rows_of(1, *NAMES), 16)


def test_a_mixture_goes_through_a_bundle_with_all_its_scores(mixture, tmp_path):
    """Two likelihoods, by default: heavy tails and cells of a grid."""
    bundle = mixture.bundle
    write_bundle(bundle, tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").glob("*.onnx")) == sorted(
        f"{graph}{suffix}.onnx" for graph in ("encoder", "decoder", "log_joint") for suffix in ("", "-2")
    )
    rows = make_rows(40, seed=5)
    here, there = Scorer(bundle), Scorer(read_bundle(tmp_path / "model"))
    np.testing.assert_array_equal(here.score(rows).log_px, there.score(rows).log_px)
    heads = [{type(column.head).__name__ for column in member.columns} for member in bundle.manifest.members]
    assert "StudentTHead" in heads[0]
    assert "StudentTHead" not in heads[1]
    assert here.encode(rows).shape == (40, sum(member.architecture.latent_dim for member in bundle.manifest.members))
    assert here.sample(1000, seed=1).shape == (1000, 5)
