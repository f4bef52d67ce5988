"""What an error target promises: it is met, the error covers the exact value, and the cap is kept."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.density.estimator import DensityEstimator
from anomaly_vae.density.precision import Precision
from anomaly_vae.density.synthesis import sample_rows
from anomaly_vae.training.noise import sobol_normal
from tests.support.exact_models import estimator_of, on_a_grid, student, untrained, wrong_encoder
from tests.support.models import estimator_of as estimator_of_heads
from tests.support.models import features_of, member_of, rows_of, vae_of


@pytest.mark.parametrize("target_error", [0.3, 0.1, 0.02])
def test_the_target_is_met_and_the_error_covers_the_exact_value(target_error):
    """A FactorAnalysis model with a wrong encoder; the exact log p(x) is scikit-learn's."""
    exact, vae, rows = wrong_encoder()
    got = estimator_of(vae, points=256).estimate(rows, Precision(target_error, 4096))
    assert np.mean(got.std_error <= target_error) > 0.97
    assert np.mean(np.abs(got.log_px - exact) <= student(got.std_error)) >= 0.97
    assert got.reliable.mean() > 0.97


def test_a_row_spends_only_the_samples_it_needs():
    _, vae, rows = wrong_encoder()
    estimator = estimator_of(vae, points=256)
    coarse, fine, never = (estimator.estimate(rows, Precision(error, 4096)) for error in (0.1, 0.02, 1e-9))
    assert coarse.num_samples.mean() < fine.num_samples.mean() < never.num_samples.mean()
    assert np.all(coarse.num_samples <= fine.num_samples)
    assert coarse.num_samples.mean() < 0.1 * 4096


@pytest.mark.parametrize("cap", [64, 512, 4096])
@pytest.mark.parametrize("latent_dim", [2, 16, 50])
def test_no_row_spends_more_than_the_cap(cap, latent_dim):
    """Also where the target cannot be met, and where a fit alone would cost more."""
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(24, 20)) * rng.choice([0.1, 3.0, 30.0], size=(24, 1))
    estimator = estimator_of(untrained(20, latent_dim), points=256)
    got = estimator.estimate(rows, Precision(1e-9, cap), careful_below=np.full(24, np.inf))
    assert np.isfinite(got.log_px).all()
    assert got.num_samples.max() <= cap


@pytest.mark.parametrize("cap", [512, 4096])
@pytest.mark.parametrize("latent_dims", [(3, 3), (16, 16), (2, 3, 9, 16)])
def test_no_row_spends_more_than_the_cap_under_an_ensemble(latent_dims, cap):
    names = ("student_t", "gaussian", "logistic", "gaussian")
    members = []
    for seed, latent_dim in enumerate(latent_dims):
        vae = vae_of(*names, seed=seed, latent_dim=latent_dim, wild=1.0)
        members.append(member_of(vae, features_of(*names, vae=vae)))
    estimator = DensityEstimator(members, sobol_normal(16, 256, max(latent_dims) + 1, seed=0), threads=1)
    rows = rows_of(30, *names)
    got = estimator.estimate(rows, Precision(1e-9, cap), careful_below=np.full(30, np.inf))
    assert got.num_samples.max() <= cap


@pytest.mark.parametrize("latent_dim", [1, 2])
@pytest.mark.parametrize("names", [("student_t",) * 4, ("student_t", "logistic", "gaussian", "count")])
def test_under_heavy_tails_the_error_covers_the_integral_on_a_grid(names, latent_dim):
    """Rows from the model, rows from elsewhere, and rows with one cell far out; an error of 0.1 nats is asked for."""
    errors, inside, met = [], [], []
    for seed in range(4):
        vae = vae_of(*names, seed=seed, latent_dim=latent_dim)
        features = features_of(*names, vae=vae)
        estimator = estimator_of_heads(vae, features, threads=1)
        rows = np.concatenate([sample_rows(estimator.members, 20, seed), rows_of(20, *names, seed=seed)])
        rows[::8, 0] += 3.0
        inputs = features.encode(rows)
        exact = on_a_grid(vae, inputs.x, inputs.mask) + inputs.base
        got = estimator.estimate(rows, Precision(0.1, 4096))
        errors.append(np.abs(got.log_px - exact))
        inside.append(errors[-1] <= student(got.std_error))
        met.append(got.std_error <= 0.1)
    assert np.median(errors) <= 0.1
    assert np.mean(inside) >= 0.97
    assert np.mean(met) >= 0.97


# A thorough fit may leave nothing for samples, and rows below the limit have none from the quick phase. Their log p(x)
# is then that of the fit, and their standard error a constant.
INF = np.inf
CAPS = [(cap, limit) for cap in (64, 128, 256, 512, 1024, 4096) for limit in (-INF, INF)]


@pytest.fixture(scope="module")
def heavy_tails():
    """An estimator, rows, some of which are far out, and their log p(x) on a grid."""
    names = ("student_t",) * 4
    vae = vae_of(*names, latent_dim=2, seed=1)
    features = features_of(*names, vae=vae)
    rows = rows_of(100, *names)
    rows[::8, 0] += 3.0
    inputs = features.encode(rows)
    exact = on_a_grid(vae, inputs.x, inputs.mask) + inputs.base
    return estimator_of_heads(vae, features, threads=1), rows, exact


@pytest.mark.parametrize(("cap", "limit"), CAPS)
def test_every_row_has_samples_and_an_error_of_its_own(heavy_tails, cap, limit):
    """Whatever the cap, a row is never called reliable by a fit alone."""
    estimator, rows, exact = heavy_tails
    got = estimator.estimate(rows, Precision(0.1, cap), careful_below=np.full(100, limit))
    error, reliable = np.abs(got.log_px - exact), got.reliable
    assert np.sum(error[reliable] > student(got.std_error[reliable])) <= 3
    valid = got.std_error[np.isfinite(got.std_error)]
    assert len(np.unique(valid)) == len(valid), "errors come from samples, so they differ"


@pytest.mark.parametrize("target_error", [0.5, 3.0])
def test_a_large_target_still_gives_every_row_samples(target_error):
    _, vae, rows = wrong_encoder()
    got = estimator_of(vae, points=256).estimate(rows, Precision(target_error, 4096))
    assert np.unique(got.std_error).size > 100


def test_rows_below_the_limit_get_the_thorough_search():
    """It costs more, and its estimate has other samples; the other rows do not change."""
    exact, vae, rows = wrong_encoder()
    estimator = estimator_of(vae, points=256)
    precision = Precision(0.1, 4096)
    plain = estimator.estimate(rows, precision)
    below = np.arange(200) % 4 == 0
    careful = estimator.estimate(rows, precision, careful_below=np.where(below, exact + 5.0, exact - 5.0))
    assert np.all(careful.num_samples[below] > plain.num_samples[below])
    assert np.all(careful.log_px[below] != plain.log_px[below])
    for values, expected in zip(careful, plain, strict=True):
        np.testing.assert_array_equal(values[~below], expected[~below])
    assert np.mean(np.abs(careful.log_px - exact)[below] <= student(careful.std_error[below])) >= 0.97
