"""All steps from torch weights to log p(x) (ONNX graph, onnxruntime, tiles, log-weights) against exact values."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import norm

from anomaly_vae.errors import ConfigError
from anomaly_vae.training.vae import VAE
from tests.support.exact_models import (
    Lines,
    estimator_of,
    factor_analysis,
    log_var_of,
    nonlinear,
    on_a_grid,
    student,
    untrained,
)


def test_linear_gaussian_vae_is_factor_analysis():
    """With a linear decoder and the exact posterior, log p(x) equals FactorAnalysis's in data units, at any budget."""
    fitted, vae, transform, rows = factor_analysis()
    exact = fitted.score_samples(transform.forward(rows)) + transform.log_abs_det
    for budget in (16, 64, 1024):
        got = estimator_of(vae).estimate(rows, budget)
        np.testing.assert_allclose(got.log_px, exact, atol=1e-3)
        np.testing.assert_allclose(got.elbo, exact, atol=1e-3)
        assert np.all(got.ess_ratio > 0.999)
        assert np.all(got.std_error < 1e-3)


def test_a_worse_encoder_gives_the_same_marginal_and_a_lower_elbo():
    """p(x) does not depend on q(z|x). A narrow proposal must not be taken for an exact one."""
    fitted, vae, transform, rows = factor_analysis()
    exact = fitted.score_samples(transform.forward(rows)) + transform.log_abs_det
    with torch.no_grad():
        vae.encoder.net[0].bias[3:] += 0.7  # log-variances
        vae.encoder.net[0].bias[:3] += 0.1
    got = estimator_of(vae, points=256).estimate(rows, 4096)
    assert np.abs(got.log_px - exact).max() < 0.02
    assert np.mean(np.abs(got.log_px - exact) < 3 * got.std_error + 1e-3) > 0.9
    assert np.all(got.elbo < exact - 0.01)


def test_a_nonlinear_decoder_agrees_with_quadrature():
    """In one latent dimension an independent routine computes the integral over z to 1e-9."""
    transform = Lines(center=(1.0, -5.0, 0.0), scale=(2.0, 0.1, 30.0))
    vae = nonlinear(transform)
    rows = np.random.default_rng(1).normal(size=(12, 3)) * transform.scale + transform.center
    double = VAE.in_float64(vae)
    variance = np.exp(log_var_of(double))

    def joint(z: float, y: np.ndarray) -> float:
        with torch.no_grad():
            loc = double.decoder(torch.tensor([z], dtype=torch.float64)).numpy()
        return float(np.exp(norm(loc, np.sqrt(variance)).logpdf(y).sum()) * norm.pdf(z))

    y = transform.forward(rows)
    exact = [math.log(quad(joint, -9, 9, args=(row,), epsabs=0, epsrel=1e-9, limit=500)[0]) for row in y]
    got = estimator_of(vae, points=256).estimate(rows, 4096)
    within = np.abs(got.log_px - np.array(exact) - transform.log_abs_det) < 3 * got.std_error + 1e-3
    assert within.mean() > 0.9
    assert np.abs(got.log_px - np.array(exact) - transform.log_abs_det).max() < 0.05


def test_the_density_integrates_to_one_in_data_units():
    """No constant is missing, nor the Jacobian of the transform."""
    transform = Lines(center=(40.0,), scale=(0.25,))
    estimator = estimator_of(nonlinear(transform), points=256)
    grid = np.linspace(40 - 4, 40 + 4, 1501)
    density = np.exp(estimator.estimate(grid[:, None], 4096).log_px)
    assert np.trapezoid(density, grid) == pytest.approx(1.0, abs=2e-3)


def test_the_prior_estimator_agrees(trained):
    """1/N sum p(x|z), z ~ p(z), does not use the encoder, the proposal's density or the weights."""
    from anomaly_vae.scorer import Scorer

    scorer = Scorer(trained.bundle)
    rows = scorer.sample(20, seed=5)
    got = scorer.score(rows)
    (member,) = scorer._estimator.members
    manifest = trained.bundle.manifest
    (record,) = manifest.members
    z = np.random.default_rng(0).standard_normal((200_000, record.architecture.latent_dim)).astype(np.float32)
    loc = member.network.decode(z).astype(np.float64)
    lines = [column.transform for column in record.columns]
    transform = Lines([line.center for line in lines], [line.scale for line in lines])
    y = transform.forward(rows[:, manifest.schema.modelled])
    scale = np.exp(0.5 * np.array([column.head.log_var for column in record.columns]))
    for i in range(len(rows)):
        log_px = logsumexp(norm(loc, scale).logpdf(y[i]).sum(-1)) - math.log(len(z)) + transform.log_abs_det
        assert log_px == pytest.approx(got.log_px[i], abs=0.15)


def test_only_nested_power_of_two_budgets_are_accepted():
    _, vae, _, rows = factor_analysis()
    estimator = estimator_of(vae)
    assert estimator.budgets == (16, 32, 64, 128, 256, 512, 1024)
    with pytest.raises(ConfigError, match=r"num_samples must be one of 16, 32.*got 1000"):
        estimator.estimate(rows, 1000)
    with pytest.raises(ConfigError, match="threads"):
        estimator_of(vae, threads=0)


def test_no_rows_give_no_scores():
    _, vae, _, _ = factor_analysis()
    assert len(estimator_of(vae).estimate(np.empty((0, 6)), 64).log_px) == 0


def test_values_far_beyond_float32_still_have_finite_scores():
    """A square of 1e30 overflows float32. The score must still be finite and rank the row last."""
    _, vae, _, rows = factor_analysis()
    far = np.concatenate([rows[:3], rows[:1] * 1e12, rows[:1] * 1e300, np.full((1, 6), -1.7e308)])
    got = estimator_of(vae).estimate(far, 64)
    assert np.isfinite(got.log_px).all()
    assert got.log_px[:3].min() > got.log_px[3:].max()


SHAPES = [(1, 1, 16), (3, 2, 64), (30, 15, 1024), (70, 5, 1024), (8, 7, 4096)]


@pytest.mark.parametrize(("columns", "latent_dim", "budget"), SHAPES)
def test_a_row_s_score_does_not_depend_on_the_other_rows(columns, latent_dim, budget):
    """Bit for bit: alone, at every position of a tile, permuted, in any partition, strided, with 1 and 2 threads."""
    one, two = (estimator_of(untrained(columns, latent_dim), threads=threads, points=256) for threads in (1, 2))
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(35, columns)) * 3
    expected = one.estimate(rows, budget)

    def same(got, chosen):
        for field in expected._fields:
            np.testing.assert_array_equal(getattr(got, field), getattr(expected, field)[chosen], err_msg=field)

    same(two.estimate(rows, budget), slice(None))
    order = rng.permutation(35)
    same(two.estimate(rows[order], budget), order)
    for i in range(20):
        same(one.estimate(rows[i : i + 1], budget), slice(i, i + 1))
    for start in range(0, 35, 9):
        same(one.estimate(rows[start : start + 9], budget), slice(start, start + 9))
    same(one.estimate(np.asfortranarray(rows), budget), slice(None))
    same(one.estimate(np.repeat(rows, 3, axis=0)[::3], budget), slice(None))
    rotated = np.roll(rows, 7, axis=0)
    same(one.estimate(rotated, budget), np.roll(np.arange(35), 7))


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_non_linear_decoders_agree_with_quadrature(latent_dim):
    """Several decoders and many rows, against the integral over z on fine grids."""
    errors, inside = [], []
    for seed in range(4):
        transform = Lines(center=(1.0, -5.0, 0.0, 2.0), scale=(2.0, 0.1, 30.0, 1.0))
        vae = nonlinear(transform, seed, latent_dim)
        rows = np.random.default_rng(seed).normal(size=(30, 4)) * 1.5 * transform.scale + transform.center
        exact = on_a_grid(vae, transform.forward(rows)) + transform.log_abs_det
        got = estimator_of(vae).estimate(rows, 1024)
        errors.append(np.abs(got.log_px - exact))
        inside.append(errors[-1] <= student(got.std_error))
    assert np.median(errors) <= 0.01
    assert np.mean(inside) >= 0.97
