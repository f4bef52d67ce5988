"""One example column under its head: its density, derivatives and drawn values, in data units.

``name`` is a key of :data:`tests.support.models.COLUMNS`, ``params`` the decoder's output of the column, shape (P,).
"""

from __future__ import annotations

import numpy as np

from anomaly_vae.columns.likelihood import TableLikelihood
from tests.support.models import features_of

ONE, TWO, THREE = np.array([0.3]), np.array([0.3, -1.0]), np.array([0.5, -1.0, 2.0])


def log_prob(name: str, values: np.ndarray, params: np.ndarray) -> np.ndarray:
    """Return log p(x|z) of each value, nats, shape (N,)."""
    features = features_of(name)
    inputs = features.encode(values[:, None])
    return TableLikelihood(features.layout).log_prob(inputs.x, inputs.mask, params) + inputs.base


def slope_and_information(name: str, values: np.ndarray, params: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the slope and the curvature at each value, shape (N, P) each."""
    features = features_of(name)
    inputs = features.encode(values[:, None])
    likelihood = TableLikelihood(features.layout)
    return likelihood.slope(inputs.x, inputs.mask, params), likelihood.information(inputs.x, inputs.mask, params)


def draws(name: str, params: np.ndarray, n: int = 20_000) -> np.ndarray:
    """Return n values that the head draws, shape (n,)."""
    features = features_of(name)
    drawn = TableLikelihood(features.layout).draw(np.tile(params, (n, 1)), np.random.default_rng(0))
    return features.decode(drawn)[:, 0]


def wide_grid(center: float) -> np.ndarray:
    """Return points from 1e-7 to 1e4 on both sides of a center, dense near it."""
    away = np.geomspace(1e-7, 1e4, 40_000)
    return center + np.concatenate([-away[::-1], away])


def assert_information_is_the_mean_square_of_the_slope(name, values, masses, params):
    """Compare with the definition of the Fisher information: the mean over values with these probabilities."""
    slope, information = slope_and_information(name, values, params)
    np.testing.assert_allclose(information[0], masses @ np.square(slope), rtol=1e-4)
    np.testing.assert_array_equal(information, np.broadcast_to(information[:1], information.shape))


def assert_shares(drawn: np.ndarray, values: np.ndarray, masses: np.ndarray) -> None:
    """Compare the shares of drawn values with their probabilities, within 5 standard errors."""
    found = np.mean(drawn[:, None] == values, axis=0)
    assert np.all(np.abs(found - masses) <= 5.0 * np.sqrt(masses / len(drawn)) + 1e-4)


def assert_curvature_is_the_slope_over_the_residual(name: str) -> None:
    """Check the curvature of the quadratic upper bound that touches -log p at the residual.

    It is exact in the middle and nearly flat far from it.
    """
    features = features_of(name)
    likelihood = TableLikelihood(features.layout)
    x, mask = np.random.default_rng(0).normal(size=(30, 1)), np.ones((30, 1))
    params = np.linspace(-40.0, 40.0, 30)[:, None]
    curvature, slope = likelihood.information(x, mask, params), likelihood.slope(x, mask, params)
    np.testing.assert_allclose(curvature * (x - params), slope, rtol=1e-6)
    assert np.all(curvature > 0.0)
    assert curvature[0, 0] < 0.1 * curvature.max()
