"""The search for modes where the posterior is known: linear-Gaussian models, steep decoders, heavy tails."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.columns.heads.gaussian import GaussianLikelihood
from anomaly_vae.columns.heads.student_t import StudentTLikelihood
from anomaly_vae.density import modes as modes_module
from anomaly_vae.density import tiles
from anomaly_vae.density.modes import Modes, _newton_step, _Point, find_modes, posterior_cost
from tests.support.exact_models import linear_model
from tests.support.models import features_of, member_of, rows_of, vae_of
from tests.support.networks import FunctionNetwork
from tests.support.same_bits import assert_rows_stand_alone


def search(network, x, start, steps):
    x = np.asarray(x, dtype=np.float32)
    return find_modes(network, x, np.ones_like(x), np.asarray(start, dtype=np.float64), steps)


def test_one_step_finds_the_mode_of_a_linear_model_and_its_laplace_approximation_is_exact():
    """Newton's method is exact on a quadratic function, and the evidence is then log p(x)."""
    network, x, loc, covariance, evidence = linear_model()
    modes, evaluations = search(network, x, np.zeros_like(loc), steps=5)
    np.testing.assert_allclose(modes.loc, loc, atol=1e-4)
    np.testing.assert_allclose(modes.root @ np.swapaxes(modes.root, 1, 2), np.tile(covariance, (20, 1, 1)), atol=1e-5)
    np.testing.assert_allclose(modes.inverse_root @ modes.root, np.tile(np.eye(3), (20, 1, 1)), atol=1e-9)
    np.testing.assert_allclose(modes.log_scale, np.linalg.slogdet(modes.root)[1], atol=1e-9)
    np.testing.assert_allclose(modes.log_evidence, evidence, atol=1e-3)
    np.testing.assert_array_equal(evaluations, 2)


@pytest.mark.parametrize("latent_dim", [1, 3, 40])
def test_a_step_solves_the_damped_equations_whatever_the_other_rows(latent_dim):
    """Without damping, the factor's inverse solves them. Bit for bit the same for every number of rows."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(24, latent_dim, latent_dim))
    curvature = root @ np.swapaxes(root, 1, 2) + np.eye(latent_dim)
    gradient, damping = rng.normal(size=(24, latent_dim)), np.where(np.arange(24) % 3 == 0, 0.3, 0.0)
    lower = np.linalg.cholesky(curvature)
    at = _Point(gradient, gradient[:, 0], gradient, curvature, lower, np.linalg.inv(lower))
    before = curvature.copy()
    for factors in (damping, np.zeros(24), np.full(24, 8.0)):
        damped = curvature + factors[:, None, None] * curvature * np.eye(latent_dim)
        expected = np.linalg.solve(damped, gradient[:, :, None])[:, :, 0]
        np.testing.assert_allclose(_newton_step(at, factors), expected, rtol=1e-8, atol=1e-10)
        assert_rows_stand_alone(lambda rows: _newton_step(at.take(rows), factors[rows]), 24)  # noqa: B023
    np.testing.assert_array_equal(at.curvature, before)


def test_missing_cells_do_not_move_the_mode():
    """Without any cell the posterior is the prior."""
    network, x, loc, *_ = linear_model()
    modes, _ = find_modes(network, x, np.zeros_like(x), np.full_like(loc, 0.5), 3)
    np.testing.assert_allclose(modes.loc, 0.0, atol=1e-6)
    np.testing.assert_allclose(modes.root, np.tile(np.eye(3), (20, 1, 1)), atol=1e-6)
    np.testing.assert_allclose(modes.log_evidence, 0.0, atol=1e-5)


def test_evaluations_are_those_of_the_posterior_graph_for_each_start(monkeypatch):
    """A search that has ended is not evaluated again."""
    network, x, loc, *_ = linear_model()
    start = np.where(np.arange(20)[:, None] % 2 == 0, loc, loc + 3.0)
    asked = []
    original = tiles.posterior

    def counting(network, x, mask, z):
        asked.append(len(x))
        return original(network, x, mask, z)

    monkeypatch.setattr(tiles, "posterior", counting)
    _, evaluations = search(network, x, start, steps=4)
    assert evaluations.sum() == sum(asked)
    np.testing.assert_array_equal(evaluations, np.where(np.arange(20) % 2 == 0, 1, 2))
    assert posterior_cost(5) > posterior_cost(2) > 1


def steep():
    """Return a decoder on which plain Newton steps overshoot."""
    return FunctionNetwork(lambda z: np.tanh(8.0 * (z - 1.0)), GaussianLikelihood([-4.0]))


def test_steps_that_do_not_climb_are_undone(monkeypatch):
    """log p(x, z) must never decrease with the number of steps. Without the last step, which is not evaluated."""
    monkeypatch.setattr(modes_module, "_LAST_GAIN", 0.0)
    network = steep()
    x, start = np.full((9, 1), 0.9), np.linspace(-2, 3, 9)[:, None]
    before = network.exact(x, np.ones_like(x), start.astype(np.float32).astype(np.float64))
    first = before
    for steps in range(1, 9):
        modes, _ = search(network, x, start, steps)
        after = network.exact(x.astype(np.float32).astype(np.float64), np.ones_like(x), modes.loc)
        np.testing.assert_allclose(after, modes.log_joint, atol=1e-3)
        assert np.all(after >= before - 1e-4)
        before = after
    assert np.all(before[first < before.max() - 1.0] > first[first < before.max() - 1.0])


def heavy_tailed(x):
    """Return a model with a heavy-tailed posterior, and 8 equal rows."""
    heads = StudentTLikelihood([-1.5, -0.5], [3.0, 5.0])
    network = FunctionNetwork(lambda z: np.concatenate([z, 0.5 * z], axis=-1), heads)
    return network, np.full((8, 2), x) * [1.0, 0.7]


def test_without_the_last_step_the_root_is_that_of_the_exact_curvature(monkeypatch):
    """Central differences at the place where the search ended."""
    monkeypatch.setattr(modes_module, "_LAST_GAIN", 1e-3)
    network, rows = heavy_tailed(0.9)
    modes, _ = search(network, rows, np.linspace(-3.0, 5.0, 8)[:, None], steps=30)
    found = network.posterior(rows, np.ones_like(rows), modes.loc)
    assert np.all(found.curvature > 0.0)
    np.testing.assert_allclose(1.0 / np.square(modes.root[:, 0, 0]), found.curvature[:, 0, 0], rtol=0.03)


def errors_of_searches(x):
    """Search the mode from 8 starts; return distances from it in deviations of the approximations, and log p(x, z).

    The latter is relative to the mode's.
    """
    network, rows = heavy_tailed(x)
    modes, evaluations = search(network, rows, np.linspace(-3.0, 5.0, 8)[:, None], steps=30)
    assert evaluations.max() < 31, "every search has ended by itself"
    grid = np.linspace(-8.0, 8.0, 160_001)[:, None]
    density = network.exact(rows[0], np.ones(2), grid)
    distance = np.abs(modes.loc[:, 0] - grid[density.argmax(), 0]) / modes.root[:, 0, 0]
    return distance, modes.log_joint - density.max()


def test_a_search_ends_near_the_mode_of_a_heavy_tailed_posterior():
    """Within 0.8 standard deviations of the approximation, and log p(x, z) is extrapolated to the mode's, nearly."""
    distance, log_joint = errors_of_searches(0.9)
    assert distance.max() < 0.8
    np.testing.assert_allclose(log_joint, 0.0, atol=0.3)


def test_a_search_that_ends_in_a_flat_tail_still_covers_the_mode():
    """There the information replaces the exact curvature, which is indefinite, and says that little is to be gained.

    Its width is that of the tail, so the mode is within 3 standard deviations.
    """
    distance, log_joint = errors_of_searches(4.0)
    assert distance.max() < 3.0
    assert np.all(log_joint < 0.3)
    assert np.median(distance) > 0.8, "otherwise this case is no exception any more"


def test_the_last_step_is_taken_without_an_evaluation_and_its_gain_is_added():
    """On a quadratic function it ends exactly at the mode. A start that is farther away is evaluated again."""
    network, x, loc, covariance, evidence = linear_model()
    std = np.sqrt(np.diag(covariance))
    for offset, expected in ((0.1, 1), (3.0, 2)):
        modes, evaluations = search(network, x, loc + offset * std, steps=5)
        np.testing.assert_array_equal(evaluations, expected)
        np.testing.assert_allclose(modes.loc, loc, atol=1e-4)
        np.testing.assert_allclose(modes.log_joint, network.exact(x, np.ones_like(x), loc), atol=1e-3)
        np.testing.assert_allclose(modes.log_evidence, evidence, atol=1e-3)


def test_far_starts_reach_different_modes():
    """x = z^2 has the modes of +z and -z."""
    network = FunctionNetwork(np.square, GaussianLikelihood([-3.0]))
    modes, _ = search(network, np.full((2, 1), 4.0), [[-1.0], [1.5]], steps=10)
    np.testing.assert_allclose(modes.loc[:, 0], [-1.997, 1.997], atol=0.01)
    np.testing.assert_allclose(modes.log_evidence[0], modes.log_evidence[1], atol=0.03)


@pytest.mark.parametrize("x", [1e15, np.finfo(np.float32).max])
def test_a_decoder_that_overflows_gives_finite_modes(x):
    """Also for rows with very large values."""
    network = FunctionNetwork(lambda z: np.exp(50 * z) * 1e300, GaussianLikelihood([0.0]))
    with np.errstate(all="ignore"):
        modes, _ = search(network, np.full((2, 1), x), np.zeros((2, 1)), 4)
    assert all(np.isfinite(values).all() for values in modes[:4])


@pytest.mark.parametrize("latent_dim", [1, 2, 9])
def test_a_search_does_not_depend_on_the_other_rows(latent_dim):
    """Bit for bit, with graphs: some searches end sooner than others, so calls have all numbers of rows."""
    names = ("student_t", "gaussian", "count", "logistic", "conditional")
    vae = vae_of(*names, latent_dim=latent_dim)
    features = features_of(*names, vae=vae)
    network = member_of(vae, features).network
    inputs = features.encode(rows_of(40, *names))
    x, mask = inputs.x.astype(np.float32), inputs.mask.astype(np.float32)
    mask[::5, 1] = 0.0
    start = np.random.default_rng(0).normal(size=(40, latent_dim)) * 3.0

    def call(rows):
        modes, evaluations = find_modes(network, x[rows], mask[rows], start[rows], 5)
        return *modes, evaluations

    assert_rows_stand_alone(call, 40, steps=(1, 7))
    assert np.unique(call(np.arange(40))[-1]).size > 1


def test_modes_of_some_rows_are_taken():
    modes = Modes(*(np.arange(6.0).reshape(3, 2) for _ in Modes._fields))
    for chosen in (np.array([2, 0]), np.array([True, False, True])):
        np.testing.assert_array_equal(modes.take(chosen).loc, modes.loc[chosen])
