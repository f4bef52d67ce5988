"""The search for modes where the posterior is known: linear-Gaussian models, and steep decoders."""

from __future__ import annotations

import numpy as np

from anomaly_vae.columns.heads.gaussian import GaussianLikelihood
from anomaly_vae.density.modes import Modes, find_modes, multiply_stacks
from tests.support.exact_models import linear_model


def test_one_step_finds_the_mode_of_a_linear_model_and_its_laplace_approximation_is_exact():
    """Gauss-Newton is exact on a quadratic function, and the evidence is then log p(x)."""
    decode, likelihood, x, loc, covariance, evidence = linear_model()
    modes = find_modes(decode, likelihood, x, np.ones_like(x), np.zeros_like(loc), steps=1)
    np.testing.assert_allclose(modes.loc, loc, atol=1e-5)
    np.testing.assert_allclose(modes.root @ np.swapaxes(modes.root, 1, 2), np.tile(covariance, (20, 1, 1)), atol=1e-5)
    np.testing.assert_allclose(modes.inverse_root @ modes.root, np.tile(np.eye(3), (20, 1, 1)), atol=1e-9)
    np.testing.assert_allclose(modes.log_scale, np.linalg.slogdet(modes.root)[1], atol=1e-9)
    np.testing.assert_allclose(modes.log_evidence, evidence, atol=1e-3)


def test_steps_that_do_not_climb_are_undone():
    """Plain Newton steps overshoot on a steep decoder. log p(x, z) must never decrease."""

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


def test_products_of_stacks_do_not_depend_on_the_number_of_rows():
    """Bit for bit, also where a product is cut into parts that the BLAS library does not split among threads."""
    rng = np.random.default_rng(0)
    for size, count in ((3, 1), (16, 800), (50, 51), (80, 200)):
        matrices, vectors = rng.normal(size=(9, size, size)), rng.normal(size=(9, count, size))
        expected = multiply_stacks(matrices, vectors)
        np.testing.assert_allclose(expected, vectors @ np.swapaxes(matrices, 1, 2), atol=1e-9)
        for i in range(9):
            np.testing.assert_array_equal(multiply_stacks(matrices[i : i + 1], vectors[i : i + 1])[0], expected[i])


def test_a_decoder_that_overflows_gives_finite_proposals():
    """Also for rows with very large values."""
    likelihood = GaussianLikelihood([0.0])
    x = np.full((2, 1), 1e15)
    with np.errstate(all="ignore"):
        modes = find_modes(lambda z: np.exp(50 * z) * 1e300, likelihood, x, np.ones((2, 1)), np.zeros((2, 1)), 4)
    assert all(np.isfinite(values).all() for values in modes[:4])


def test_one_mode_of_each_row_is_picked():
    modes = Modes(*(np.arange(6.0).reshape(2, 3) for _ in Modes._fields))
    np.testing.assert_array_equal(modes.pick(np.array([1, 0, 1])).loc, [3.0, 1.0, 5.0])
