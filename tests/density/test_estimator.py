"""All steps from torch weights to log p(x) (ONNX graph, onnxruntime, tiles, log-weights) against exact values."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm

from anomaly_vae.density import estimator as estimator_module
from anomaly_vae.density import tiles
from anomaly_vae.density.estimator import DensityEstimator, Precision
from anomaly_vae.density.synthesis import sample_rows
from anomaly_vae.errors import ConfigError
from anomaly_vae.training.noise import sobol_normal
from anomaly_vae.training.vae import VAE
from tests.support.exact_models import (
    Lines,
    columns_member,
    estimator_of,
    factor_analysis,
    folded,
    gaussian_vae,
    log_var_of,
    nonlinear,
    on_a_grid,
    student,
    untrained,
)
from tests.support.models import ALL, features_of, member_of, rows_of, vae_of
from tests.support.models import estimator_of as estimator_of_heads
from tests.support.same_bits import assert_rows_stand_alone

TARGET = Precision(target_error=0.1, num_samples=4096)
FINE = Precision(target_error=0.003, num_samples=4096)


def test_linear_gaussian_vae_is_factor_analysis():
    """With a linear decoder and the exact posterior, log p(x) equals FactorAnalysis's in data units.

    Samples of the encoder have equal weights. Those of a fitted proposal have an error, which is met and stated.
    """
    fitted, vae, transform, rows = factor_analysis()
    exact = fitted.score_samples(transform.forward(rows)) + transform.log_abs_det
    estimator = estimator_of(vae, points=256)
    for budget in (16, 64, 4096):
        np.testing.assert_allclose(estimator.plain_log_px(rows, budget), exact, atol=1e-3)
    small = estimator.estimate_fixed(rows, 32)  # too few for a fit
    np.testing.assert_allclose(small.log_px, exact, atol=1e-3)
    np.testing.assert_allclose(small.elbo, exact, atol=1e-3)
    assert np.all(small.ess_ratio > 0.999)
    assert np.all(small.std_error < 1e-3)
    for precision in (TARGET, Precision(0.02, 4096)):
        got = estimator.estimate(rows, precision)
        assert np.all(got.std_error <= precision.target_error)
        assert np.mean(np.abs(got.log_px - exact) <= student(got.std_error)) >= 0.97
        np.testing.assert_allclose(got.elbo, exact, atol=0.1)
        assert got.reliable.all()


def test_a_linear_decoder_with_a_mixture_prior_is_a_mixture_of_gaussians():
    r"""p(x) = sum of pi_c N(x; W mu_c + b, W S_c W' + Psi), in closed form; the encoder knows one component at best."""
    fitted, exact, transform, rows = factor_analysis()
    vae = gaussian_vae(transform, (), 3, np.log(fitted.noise_variance_), components=4)
    vae.decoder.load_state_dict(exact.decoder.state_dict())
    vae.encoder.load_state_dict(exact.encoder.state_dict())
    record = vae.prior.record()
    weight, bias = (value.detach().double().numpy() for value in exact.decoder[0].parameters())
    noise = np.diag(np.exp(log_var_of(vae)))
    terms = []
    for log_weight, loc, log_scale in zip(record.log_weights, record.loc, record.log_scale, strict=True):
        covariance = weight @ np.diag(np.exp(2.0 * np.array(log_scale))) @ weight.T + noise
        component = multivariate_normal(weight @ np.array(loc) + bias, covariance)
        terms.append(log_weight + component.logpdf(transform.forward(rows)))
    wanted = logsumexp(terms, axis=0) + transform.log_abs_det
    got = estimator_of(vae, points=256).estimate(rows, FINE)
    assert np.median(np.abs(got.log_px - wanted)) < 0.02
    assert np.mean(np.abs(got.log_px - wanted) <= student(got.std_error) + 1e-3) > 0.97
    assert np.all(got.elbo <= got.log_px)


def test_a_worse_encoder_gives_the_same_marginal_and_a_lower_elbo():
    """p(x) does not depend on q(z|x). A narrow proposal must not be taken for an exact one."""
    fitted, vae, transform, rows = factor_analysis()
    exact = fitted.score_samples(transform.forward(rows)) + transform.log_abs_det
    with torch.no_grad():
        vae.encoder.net[0].bias[3:] += 0.7  # log-variances
        vae.encoder.net[0].bias[:3] += 0.1
    got = estimator_of(vae, points=256).estimate(rows, FINE)
    assert np.abs(got.log_px - exact).max() < 0.05
    assert np.mean(np.abs(got.log_px - exact) <= student(got.std_error) + 1e-3) > 0.97
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
    got = estimator_of(vae, points=256).estimate(rows, FINE)
    within = np.abs(got.log_px - np.array(exact) - transform.log_abs_det) <= student(got.std_error) + 1e-3
    assert within.mean() > 0.9
    assert np.abs(got.log_px - np.array(exact) - transform.log_abs_det).max() < 0.05


def test_the_density_integrates_to_one_in_data_units():
    """No constant is missing, nor the Jacobian of the transform.

    The rows share the points, so their errors do not cancel in the integral; those of 8 sets of points do.
    """
    transform = Lines(center=(40.0,), scale=(0.25,))
    member, grid = columns_member(nonlinear(transform)), np.linspace(40 - 4, 40 + 4, 501)
    found = []
    for seed in range(8):
        estimator = DensityEstimator([member], sobol_normal(16, 256, 2, seed=seed))
        density = np.exp(estimator.estimate(grid[:, None], FINE).log_px)
        found.append(np.trapezoid(density, grid))
    assert np.mean(found) == pytest.approx(1.0, abs=0.01)
    np.testing.assert_allclose(found, 1.0, atol=0.04)


def test_the_prior_estimator_agrees(trained):
    """1/N sum p(x|z), z ~ p(z), does not use the encoder, the proposal's density or the weights."""
    from anomaly_vae.scorer import Scorer

    scorer = Scorer(trained.bundle)
    rows = scorer.sample(20, seed=5)
    got = scorer.score(rows)
    (member,) = scorer._judge.estimator.members
    manifest = trained.bundle.manifest
    (record,) = manifest.members
    z = record.prior.draw(200_000, record.architecture.latent_dim, np.random.default_rng(0)).astype(np.float32)
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
        estimator.estimate_fixed(rows, 1000)
    with pytest.raises(ConfigError, match=r"num_samples must be one of 16, 32.*got 1000"):
        estimator.estimate(rows, Precision(0.1, 1000))
    with pytest.raises(ConfigError, match=r"got 1000"):
        estimator.decide(rows, Precision(0.1, 1000), np.zeros(len(rows)))
    with pytest.raises(ConfigError, match="threads"):
        estimator_of(vae, threads=0)


def test_no_rows_give_no_scores():
    _, vae, _, _ = factor_analysis()
    estimator, nothing = estimator_of(vae), np.empty((0, 6))
    assert len(estimator.estimate(nothing, Precision(0.1, 64)).log_px) == 0
    assert len(estimator.estimate_fixed(nothing, 64).log_px) == 0
    assert len(estimator.decide(nothing, Precision(0.1, 64), np.empty(0)).log_px) == 0
    assert estimator.encode(nothing).shape == (0, 3)


@pytest.mark.parametrize("names", [("gaussian",) * 3, ("student_t", "student_t", "logistic"), ALL])
def test_values_far_beyond_float32_still_have_finite_scores(names):
    """A square of 1e30 overflows float32. The score must still be finite, and rank the row last under light tails."""
    vae = vae_of(*names, latent_dim=3)
    estimator = estimator_of_heads(vae, features_of(*names, vae=vae), threads=1)
    rows = rows_of(6, *names)
    numbers = [d for d, name in enumerate(names) if name in ("gaussian", "student_t", "logistic", "conditional")]
    for row, value in ((3, 1e12), (4, 1e300), (5, -1.7e308)):
        rows[row, numbers] = value
    fixed = [estimator.estimate_fixed(rows, num_samples) for num_samples in (64, 4096)]
    for got in (estimator.estimate(rows, TARGET), *fixed):
        assert np.isfinite(got.log_px).all()
        assert got.log_px[:3].min() > got.log_px[3:].max()
        assert not np.isnan(got.elbo).any()


def test_rows_without_adaptive_proposals_have_the_fixed_budget():
    _, vae, _, rows = factor_analysis()
    estimator = estimator_of(vae, adaptive=False)
    for got in (estimator.estimate(rows, Precision(0.1, 256)), estimator.estimate_fixed(rows, 256)):
        np.testing.assert_array_equal(got.num_samples, 256)
        np.testing.assert_array_equal(got.log_px, estimator.plain_log_px(rows, 256))


@pytest.mark.parametrize("num_rows", [1, 2, 40])
def test_progress_is_told_once_for_each_row(num_rows):
    _, vae, _, rows = factor_analysis()
    told = []
    got = estimator_of(vae, threads=2).estimate(rows[:num_rows], Precision(1e-9, 1024), on_rows=told.append)
    assert sum(told) == num_rows
    assert len(got.log_px) == num_rows


@pytest.mark.parametrize(("num_rows", "sizes"), [(40, {40}), (120, {64, 56}), (200, {112, 88}), (3000, {1024, 952})])
def test_threads_share_the_rows_in_blocks_that_are_not_small(monkeypatch, num_rows, sizes):
    """Small blocks would wait for each other in Python."""
    _, vae, _, rows = factor_analysis()
    seen = []

    def spy(phase, engines, inputs, precision, careful_below, known, call=estimator_module.run_phase):
        if not phase.thorough:
            seen.append(len(careful_below))
        return call(phase, engines, inputs, precision, careful_below, known)

    monkeypatch.setattr(estimator_module, "run_phase", spy)
    estimator_of(vae, points=256, threads=2).estimate(np.resize(rows, (num_rows, rows.shape[1])), TARGET)
    assert set(seen) == sizes
    assert sum(seen) == num_rows


def test_a_lone_row_is_scored_as_four_copies(monkeypatch):
    """No call is padded then, and its limit is its own: below it, the row gets the thorough search."""
    _, vae, _, rows = factor_analysis()
    estimator = estimator_of(vae, points=256)
    calls = []
    original = tiles.posterior

    def counting(network, x, mask, z):
        calls.append(len(x))
        return original(network, x, mask, z)

    monkeypatch.setattr(tiles, "posterior", counting)
    for limit in (-np.inf, np.inf):
        got = estimator.estimate(rows[:1], TARGET, careful_below=np.array([limit]))
        several = estimator.estimate(rows[:3], TARGET, careful_below=np.array([limit, -np.inf, -np.inf]))
        for values, expected in zip(got, several, strict=True):
            assert values.shape == (1,)
            np.testing.assert_array_equal(values, expected[:1])
        assert calls[0] == 4
        calls.clear()


def test_a_cap_that_cannot_pay_a_quick_fit_is_a_fixed_budget():
    """In 50 dimensions one evaluation of the curvature costs 52 decoder evaluations."""
    estimator = estimator_of(untrained(20, 50), points=256)
    rows = np.random.default_rng(2).normal(size=(9, 20))
    for cap in (64, 128):
        got, expected = estimator.estimate(rows, Precision(0.1, cap)), estimator.estimate_fixed(rows, cap)
        for values, wanted in zip(got, expected, strict=True):
            np.testing.assert_array_equal(values, wanted)


SHAPES = [(1, 1, 16), (3, 2, 64), (30, 15, 1024), (70, 5, 1024), (8, 7, 4096)]


@pytest.mark.parametrize(("columns", "latent_dim", "budget"), SHAPES)
def test_a_row_s_score_does_not_depend_on_the_other_rows(columns, latent_dim, budget):
    """Bit for bit: alone, at every position of a tile, permuted, in any partition, strided, with 1 and 2 threads."""
    one, two = (estimator_of(untrained(columns, latent_dim), threads=threads, points=256) for threads in (1, 2))
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(35, columns)) * 3
    expected = one.estimate_fixed(rows, budget)

    def same(got, chosen):
        for field in expected._fields:
            np.testing.assert_array_equal(getattr(got, field), getattr(expected, field)[chosen], err_msg=field)

    same(two.estimate_fixed(rows, budget), slice(None))
    order = rng.permutation(35)
    same(two.estimate_fixed(rows[order], budget), order)
    for i in range(20):
        same(one.estimate_fixed(rows[i : i + 1], budget), slice(i, i + 1))
    for start in range(0, 35, 9):
        same(one.estimate_fixed(rows[start : start + 9], budget), slice(start, start + 9))
    same(one.estimate_fixed(np.asfortranarray(rows), budget), slice(None))
    same(one.estimate_fixed(np.repeat(rows, 3, axis=0)[::3], budget), slice(None))
    rotated = np.roll(rows, 7, axis=0)
    same(one.estimate_fixed(rotated, budget), np.roll(np.arange(35), 7))


@pytest.mark.parametrize("target_error", [0.3, 0.03])
@pytest.mark.parametrize("latent_dim", [1, 2, 9])
def test_a_row_s_estimate_and_decision_do_not_depend_on_the_other_rows(latent_dim, target_error):
    """Bit for bit, with all heads, missing cells, rows far out, and hard rows, which share blocks of their own."""
    vae = vae_of(*ALL, latent_dim=latent_dim)
    features = features_of(*ALL, vae=vae)
    one, two = (estimator_of_heads(vae, features, threads=threads) for threads in (1, 2))
    rows = np.concatenate([sample_rows(one.members, 40, 0), rows_of(40, *ALL)])
    rows[::7, 3] = np.nan
    rows[::11, 1] = 1e4
    precision = Precision(target_error, 4096)
    limits = np.where(np.arange(80) % 5 == 0, np.inf, -np.inf)
    thresholds = np.full(80, np.median(one.plain_log_px(rows, 256)))

    def call(estimator, chosen):
        estimates = estimator.estimate(rows[chosen], precision, careful_below=limits[chosen])
        return *estimates, *estimator.decide(rows[chosen], precision, thresholds[chosen], limits[chosen])

    assert_rows_stand_alone(lambda chosen: call(one, chosen), 80, steps=(1, 17))
    for got, expected in zip(call(two, np.arange(80)), call(one, np.arange(80)), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_decisions_are_those_of_the_estimates_and_cheaper():
    """Rows clearly above their thresholds are not estimated; the others have the estimate's log p(x), bit for bit."""
    _, vae, _, rows = factor_analysis()
    rows = np.repeat(rows, 4, axis=0)
    estimator = estimator_of(vae, points=256)
    estimates = estimator.estimate(rows, TARGET)
    thresholds = np.full(len(rows), np.quantile(estimates.log_px, 0.2))
    got = estimator.decide(rows, TARGET, thresholds)
    np.testing.assert_array_equal(got.log_px < thresholds, estimates.log_px < thresholds)
    estimated = np.isfinite(got.log_px)
    np.testing.assert_array_equal(got.log_px[estimated], estimates.log_px[estimated])
    assert np.all(estimated[estimates.log_px < thresholds])
    assert set(got.num_samples[~estimated]) <= {16, 64}
    assert got.num_samples.mean() < estimates.num_samples.mean()


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_both_of_two_modes_far_apart_are_in_the_score(latent_dim):
    """x_1 = |z_1|, and the encoder knows one of two equal modes: without the other, log p(x) is log 2 too low.

    The thorough search finds both in every row, and so does the quick one with extra starts.
    """
    vae = folded(latent_dim)
    x = np.random.default_rng(0).uniform(0.7, 2.8, size=(100, latent_dim))
    exact = on_a_grid(vae, x)
    estimator = estimator_of(vae, points=256)
    alone = estimator.plain_log_px(x, 4096)
    assert np.median(exact - alone) > 0.5
    with_starts = estimator_of(vae, points=256, extra_starts=2)
    thorough = estimator.estimate(x, TARGET, careful_below=np.full(100, np.inf))
    for got in (thorough, with_starts.estimate(x, TARGET)):
        assert np.mean(np.abs(got.log_px - exact) <= student(got.std_error)) >= 0.97
        assert np.abs(got.log_px - exact).max() < 0.4
    assert np.median(exact - estimator.estimate(x, TARGET).log_px) > 0.5, "training chooses the number of starts"


def test_encode_returns_the_means_of_the_encoders_side_by_side():
    """Latent dimensions are 4 and 1; the rows have 4 features, so that rows cannot be taken for means."""
    names, made = ("gaussian", "student_t", "logistic", "gaussian"), []
    for seed, latent_dim in enumerate((4, 1)):
        vae = vae_of(*names, seed=seed, latent_dim=latent_dim)
        made.append((vae, member_of(vae, features_of(*names, vae=vae))))
    rows = rows_of(7, *names)
    inputs = made[0][1].features.encode(rows)
    x, mask = (torch.as_tensor(values, dtype=torch.float32) for values in (inputs.x, inputs.mask))
    with torch.no_grad():
        means = [vae.encoder(x, mask)[0].numpy() for vae, _ in made]
    noise = sobol_normal(16, 64, 5, seed=0)
    for count in (1, 2):
        got = DensityEstimator([member for _, member in made[:count]], noise).encode(rows)
        np.testing.assert_allclose(got, np.concatenate(means[:count], axis=1), rtol=1e-4, atol=1e-5)
        assert got.dtype == np.float64


def test_members_of_other_sizes_divide_the_points():
    """Each has its own part of every scrambling. One with fewer latent dimensions takes the first ones."""
    noise, names, made = sobol_normal(16, 64, 6, seed=0), ("gaussian", "student_t"), []
    for latent_dim in (2, 5):
        vae = vae_of(*names, latent_dim=latent_dim)
        made.append(member_of(vae, features_of(*names, vae=vae)))
    estimator = DensityEstimator(made, noise, threads=1)
    for member, latent_dim in enumerate((2, 5)):
        expected = noise[:, 32 * member : 32 * member + 4, :latent_dim].reshape(64, latent_dim)
        np.testing.assert_array_equal(estimator.points(64, member), expected)
    assert np.isfinite(estimator.estimate(rows_of(5, *names), Precision(0.1, 1024)).log_px).all()


@pytest.mark.parametrize("components", [0, 3])
@pytest.mark.parametrize("latent_dim", [1, 2])
def test_non_linear_decoders_agree_with_quadrature(latent_dim, components):
    """Several decoders, priors and many rows, against the integral over z on fine grids."""
    errors, inside = [], []
    for seed in range(4):
        transform = Lines(center=(1.0, -5.0, 0.0, 2.0), scale=(2.0, 0.1, 30.0, 1.0))
        vae = nonlinear(transform, seed, latent_dim, components)
        rows = np.random.default_rng(seed).normal(size=(30, 4)) * 1.5 * transform.scale + transform.center
        exact = on_a_grid(vae, transform.forward(rows)) + transform.log_abs_det
        got = estimator_of(vae, points=256).estimate(rows, Precision(0.02, 4096))
        errors.append(np.abs(got.log_px - exact))
        inside.append(errors[-1] <= student(got.std_error))
    assert np.median(errors) <= 0.02
    assert np.mean(inside) >= 0.97


def test_samples_of_the_posterior_have_its_moments_and_the_evidence():
    """A linear model: p(z|x) is known, also of rows with missing cells."""
    fitted, vae, transform, rows = factor_analysis()
    rows = rows[:10].copy()
    rows[:5, 2] = np.nan
    estimator = estimator_of(vae, points=64)
    (samples,) = estimator.posterior_samples(rows, 16)
    W, variance = vae.decoder[0].weight.detach().numpy().astype(float), fitted.noise_variance_
    y = transform.forward(rows)
    for n in range(10):
        seen = ~np.isnan(rows[n])
        precision = np.eye(3) + W[seen].T @ (W[seen] / variance[seen, None])
        mean = np.linalg.solve(precision, W[seen].T @ ((y[n] - fitted.mean_)[seen] / variance[seen]))
        weights = np.exp(samples.log_weights[n] - samples.log_weights[n].max())
        found = weights @ samples.z[n] / weights.sum()
        std = np.sqrt(np.diagonal(np.linalg.inv(precision)))
        np.testing.assert_allclose((found - mean) / std, 0.0, atol=0.05)
        log_mean = np.log(np.exp(samples.log_weights[n] - samples.log_weights[n].max()).mean())
        assert samples.estimates.log_px[n] == pytest.approx(log_mean + samples.log_weights[n].max(), abs=1e-9)
    expected = estimator.estimate(rows, Precision(0.01, 1024)).log_px
    assert np.all(np.abs(samples.estimates.log_px - expected) < 4.0 * samples.estimates.std_error)
    (thorough,) = estimator.posterior_samples(rows, 16, thorough=True)
    np.testing.assert_allclose(thorough.estimates.log_px, expected, atol=0.1)


def test_a_quick_fit_approximates_log_p_and_starts_where_it_is_told(monkeypatch):
    _, vae, _, rows = factor_analysis()
    estimator = estimator_of(vae, points=64)
    log_px, (modes,) = estimator.quick_fit(rows)
    expected = estimator.estimate(rows, Precision(0.05, 1024)).log_px
    np.testing.assert_allclose(log_px, expected, atol=0.01)  # exact for a Gaussian posterior
    starts, fit = [], estimator._engines[0].fitter.fit
    monkeypatch.setattr(
        estimator._engines[0].fitter,
        "fit",
        lambda rows, first, effort: starts.append(first) or fit(rows, first, effort),
    )
    again, (same,) = estimator.quick_fit(rows, [modes])
    np.testing.assert_allclose(again, log_px, atol=1e-4)
    np.testing.assert_allclose(same, modes, atol=1e-3)
    far, _ = estimator.quick_fit(rows, [modes + 100.0])  # worse than the encoder's mean: not used
    np.testing.assert_allclose(far, log_px, atol=1e-4)
    worse = np.where(np.arange(len(rows))[:, None] % 2 == 0, modes + 100.0, modes + 0.01)
    starts.clear()
    estimator.quick_fit(rows[:10], [worse[:10].astype(np.float32)])
    np.testing.assert_array_equal(starts[0][::2], estimator.encode(rows[:10:2]).astype(np.float32))
