"""The fitted proposal where the posterior is known: linear-Gaussian models, and two modes made on purpose."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from anomaly_vae.likelihood import GaussianLikelihood
from anomaly_vae.modes import Modes, find_modes, times
from anomaly_vae.proposals import allocate, component_log_probs, draw, fit_mixture, mixture_log_prob, plan_fit
from anomaly_vae.training.noise import sobol_normal


def linear(latent_dim=3, columns=7, seed=0):
    """x = W z + b + noise: the posterior is one Gaussian, known in closed form."""
    rng = np.random.default_rng(seed)
    W, b = rng.normal(size=(columns, latent_dim)), rng.normal(size=columns)
    log_var = rng.uniform(-3, 0.5, size=columns)
    x = rng.normal(size=(20, columns)) * 3
    precision = np.eye(latent_dim) + (W.T / np.exp(log_var)) @ W
    loc = np.linalg.solve(precision, (W.T / np.exp(log_var)) @ (x - b).T).T
    evidence = multivariate_normal(b, W @ W.T + np.diag(np.exp(log_var))).logpdf(x)
    return (lambda z: z @ W.T + b), GaussianLikelihood(log_var), x, loc, np.linalg.inv(precision), evidence


def test_one_step_finds_the_mode_of_a_linear_model_and_its_laplace_approximation_is_exact():
    """Gauss-Newton is exact on a quadratic; the evidence is then log p(x) itself."""
    decode, likelihood, x, loc, covariance, evidence = linear()
    modes = find_modes(decode, likelihood, x, np.ones_like(x), np.zeros_like(loc), steps=1)
    np.testing.assert_allclose(modes.loc, loc, atol=1e-5)
    np.testing.assert_allclose(modes.root @ np.swapaxes(modes.root, 1, 2), np.tile(covariance, (20, 1, 1)), atol=1e-5)
    np.testing.assert_allclose(modes.inverse_root @ modes.root, np.tile(np.eye(3), (20, 1, 1)), atol=1e-9)
    np.testing.assert_allclose(modes.log_scale, np.linalg.slogdet(modes.root)[1], atol=1e-9)
    np.testing.assert_allclose(modes.log_evidence, evidence, atol=1e-3)


def test_steps_that_do_not_climb_are_undone():
    """On a decoder with a cliff, plain Newton steps overshoot; the objective must never fall."""

    def decode(z):
        return np.tanh(8.0 * (z - 1.0))

    likelihood = GaussianLikelihood([-4.0])
    x, start = np.full((5, 1), 0.9), np.linspace(-2, 3, 5)[:, None]

    def objective(z):
        return likelihood.log_prob(x, np.ones_like(x), decode(z)) - 0.5 * (z**2).sum(-1)

    before = objective(start.astype(np.float32).astype(np.float64))
    for steps in (1, 3, 8):
        after = objective(find_modes(decode, likelihood, x, np.ones_like(x), start, steps).loc)
        assert np.all(after >= before - 1e-12)
        before = after


def test_decoder_evaluations_are_those_planned():
    """L + 1 at the start and as many a step, for every starting point."""
    decode, likelihood, x, loc, *_ = linear()
    seen = []

    def counting(z):
        seen.append(len(z))
        return decode(z)

    plan = plan_fit(3, 1024, 64)
    x_of_starts, start = np.tile(x, (plan.starts, 1)), np.tile(loc, (plan.starts, 1))
    find_modes(counting, likelihood, x_of_starts, np.ones_like(x_of_starts), start, plan.steps)
    assert sum(seen) == plan.evaluations * len(x)


@pytest.mark.parametrize("latent_dim", [1, 2, 8, 16, 50, 200])
@pytest.mark.parametrize("budget", [64, 128, 256, 1024, 4096])
def test_a_plan_leaves_half_of_the_budget_for_the_estimate(latent_dim, budget):
    plan = plan_fit(latent_dim, budget, 64)
    assert plan is None or 64 + plan.evaluations <= budget // 2
    assert plan_fit(2, 1024, 64) is not None
    assert plan_fit(2, 64, 64) is None


def two_modes(share_gap=1.0):
    """A mixture with modes of its own for each of three rows; the second row has one mode only."""
    rng = np.random.default_rng(3)
    root = rng.normal(size=(2, 3, 2, 2)) * 0.3 + np.eye(2)
    loc = rng.normal(size=(2, 3, 2)) * 4
    loc[1, 1] = loc[0, 1]
    evidence = np.array([[0.0, 0.0, -share_gap], [-share_gap, -1.0, 0.0]])
    modes = Modes(loc, root, np.linalg.inv(root), np.linalg.slogdet(root)[1], evidence)
    return fit_mixture(modes, rng.normal(size=(3, 2)), rng.uniform(0.5, 2, size=(3, 2))), modes


def test_the_mode_with_more_evidence_comes_first_and_a_second_one_only_where_it_is_another():
    mixture, modes = two_modes()
    np.testing.assert_array_equal(mixture.first.loc, modes.loc[[0, 0, 1], [0, 1, 2]])
    assert mixture.share[1] == 0.0
    np.testing.assert_allclose(mixture.share[[0, 2]], 1 / (1 + np.e))
    negligible, _ = two_modes(share_gap=20.0)
    assert not negligible.share.any()


@pytest.mark.parametrize("num_points", [1, 2, 5, 16, 45, 57, 240])
def test_every_point_goes_to_a_component_and_an_eighth_to_the_encoder_s(num_points):
    mixture, _ = two_modes()
    counts = allocate(mixture, num_points)
    np.testing.assert_array_equal(counts.sum(axis=1), num_points)
    assert np.all(counts >= 0)
    assert np.all(counts[:, 4] >= num_points / 8)
    assert not counts[1, [1, 3]].any()


def test_the_mixture_s_density_is_that_of_its_samples():
    """Against scipy's densities; and its samples, weighted by 1 / q, integrate to the volume of a box."""
    mixture, _ = two_modes()
    points = sobol_normal(16, 256, 2, seed=1).astype(np.float64)
    counts = allocate(mixture, 256)
    z = draw(mixture, points, counts).reshape(3, -1, 2)
    log_q = mixture_log_prob(component_log_probs(mixture, z), counts)
    for i in range(3):
        parts = [
            (mode.loc[i], width**2 * mode.root[i] @ mode.root[i].T)
            for width in (1.1, 1.6)
            for mode in (mixture.first, mixture.second)
        ]
        parts.append((mixture.loc[i], np.diag((1.5 * mixture.scale[i]) ** 2)))
        kept = [(c, part) for c, part in zip(counts[i], parts, strict=True) if c]
        expected = logsumexp([np.log(c / 256) + multivariate_normal(*part).logpdf(z[i]) for c, part in kept], axis=0)
        np.testing.assert_allclose(log_q[i], expected, atol=1e-9)
        box = np.all(np.abs(z[i] - mixture.first.loc[i]) < 0.8, axis=1)
        assert np.mean(box * np.exp(-log_q[i])) == pytest.approx(1.6**2, rel=0.05)


def test_products_of_stacks_have_one_result_whatever_the_number_of_rows():
    """Bit for bit, also where a product is cut so that the library under numpy does not split it among threads."""
    rng = np.random.default_rng(0)
    for size, count in ((3, 1), (16, 800), (50, 51), (80, 200)):
        matrices, vectors = rng.normal(size=(9, size, size)), rng.normal(size=(9, count, size))
        together = times(matrices, vectors)
        np.testing.assert_allclose(together, vectors @ np.swapaxes(matrices, 1, 2), atol=1e-9)
        for i in range(9):
            np.testing.assert_array_equal(times(matrices[i : i + 1], vectors[i : i + 1])[0], together[i])


def test_a_decoder_that_overflows_does_no_harm():
    """Rows beyond all bounds still get a finite proposal."""
    likelihood = GaussianLikelihood([0.0])
    x = np.full((2, 1), 1e15)
    with np.errstate(all="ignore"):
        modes = find_modes(lambda z: np.exp(50 * z) * 1e300, likelihood, x, np.ones((2, 1)), np.zeros((2, 1)), 4)
    assert all(np.isfinite(values).all() for values in modes[:4])
