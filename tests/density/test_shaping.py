"""Widths of the density along the axes of a mode, where they are known."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.columns.heads.gaussian import GaussianLikelihood
from anomaly_vae.columns.heads.student_t import StudentTLikelihood
from anomaly_vae.density import tiles
from anomaly_vae.density.modes import Modes, find_modes
from anomaly_vae.density.shaping import shape_modes, shaping_cost
from tests.support.exact_models import linear_model
from tests.support.models import features_of, member_of, rows_of, vae_of
from tests.support.networks import FunctionNetwork
from tests.support.same_bits import assert_rows_stand_alone


def shaped(network, x, start, steps=40):
    """Return the Laplace approximations and the shaped ones."""
    x = np.asarray(x, dtype=np.float32)
    mask = np.ones_like(x)
    modes, _ = find_modes(network, x, mask, np.asarray(start, dtype=np.float64), steps)
    return modes, shape_modes(network, x, mask, modes)


def moments(network, x):
    """Return mean and standard deviation of p(z|x) in one dimension, by integration over a grid."""
    z = np.linspace(-12, 12, 48_001)[:, None]
    log_joint = network.exact(np.asarray(x, dtype=np.float64), np.ones(len(x)), z)
    weights = np.exp(log_joint - log_joint.max())
    weights /= weights.sum()
    mean = (weights * z[:, 0]).sum()
    return mean, np.sqrt((weights * np.square(z[:, 0] - mean)).sum())


def test_a_gaussian_posterior_keeps_its_shape():
    """Every width is that of the curvature, so nothing changes, and the evidence stays log p(x)."""
    network, x, loc, covariance, evidence = linear_model()
    modes, got = shaped(network, x, loc)
    np.testing.assert_allclose(got.loc, loc, atol=2e-3)
    np.testing.assert_allclose(got.root @ np.swapaxes(got.root, 1, 2), np.tile(covariance, (20, 1, 1)), atol=2e-3)
    np.testing.assert_allclose(got.log_evidence, evidence, atol=0.02)
    np.testing.assert_array_equal(got.log_joint, modes.log_joint)


def test_under_heavy_tails_the_approximation_is_as_wide_as_the_posterior():
    """Scale 0.2 and 2.5 degrees of freedom: the curvature at the mode says a third less than the standard deviation."""
    network = FunctionNetwork(lambda z: z, StudentTLikelihood([np.log(0.2)], [2.5]))
    modes, got = shaped(network, [[0.5]], [[0.4]])
    _, std = moments(network, [0.5])
    assert modes.root[0, 0, 0] < 0.75 * std
    assert modes.root[0, 0, 0] * 1.1 < got.root[0, 0, 0] < 1.3 * std


def test_under_skewness_the_mean_moves_to_the_longer_tail():
    """x = exp(z) + noise: below the mode, z hardly changes x."""
    network = FunctionNetwork(np.exp, GaussianLikelihood([-1.0]))
    modes, got = shaped(network, [[0.8]], [[0.0]])
    mean, std = moments(network, [0.8])
    assert abs(got.loc[0, 0] - mean) < 0.5 * abs(modes.loc[0, 0] - mean)
    assert abs(np.log(got.root[0, 0, 0] / std)) < abs(np.log(modes.root[0, 0, 0] / std))
    assert mean < modes.loc[0, 0]


def test_root_inverse_and_scale_fit_together():
    network = FunctionNetwork(
        lambda z: np.stack([z[..., 0] * np.exp(0.3 * z[..., 1]), z.sum(axis=-1), z[..., 1] ** 2], axis=-1),
        StudentTLikelihood([-1.0, -0.5, 0.0], [3.0, 4.0, 2.5]),
    )
    x = np.random.default_rng(0).normal(size=(9, 3))
    modes, got = shaped(network, x, np.zeros((9, 2)))
    np.testing.assert_allclose(got.inverse_root @ got.root, np.tile(np.eye(2), (9, 1, 1)), atol=1e-9)
    np.testing.assert_allclose(got.log_scale, np.linalg.slogdet(got.root)[1], atol=1e-9)
    assert np.abs(got.log_scale - modes.log_scale).max() > 0.05


@pytest.mark.parametrize("log_joint", [0.0, -np.inf, np.nan, np.inf])
def test_a_flat_or_broken_density_gives_finite_widths(log_joint):
    class Broken:
        batch_invariant = False

        def log_joint(self, *inputs):
            return np.full(inputs[-1].shape[:2], log_joint, dtype=np.float32)

    eye = np.eye(2)[None]
    modes = Modes(np.zeros((1, 2)), eye, eye, np.zeros(1), np.zeros(1), np.zeros(1))
    got = shape_modes(Broken(), np.zeros((1, 3), np.float32), np.ones((1, 3), np.float32), modes)
    assert all(np.isfinite(values).all() for values in got)
    scale = np.diagonal(got.root, axis1=1, axis2=2)
    assert np.all((scale > 0.1) & (scale < 10.0))


def test_the_cost_is_the_number_of_decoder_evaluations(monkeypatch):
    network, x, loc, *_ = linear_model()
    asked = []
    original = tiles.log_joint_at

    def counting(network, x, mask, z):
        asked.append(z.shape[0] * z.shape[1])
        return original(network, x, mask, z)

    monkeypatch.setattr(tiles, "log_joint_at", counting)
    shaped(network, x, loc)
    assert sum(asked) == 20 * shaping_cost(3)


def test_the_shape_does_not_depend_on_the_other_rows():
    names = ("student_t", "gaussian", "count", "logistic")
    vae = vae_of(*names, latent_dim=5)
    features = features_of(*names, vae=vae)
    network = member_of(vae, features).network
    inputs = features.encode(rows_of(20, *names))
    x, mask = inputs.x.astype(np.float32), inputs.mask.astype(np.float32)
    modes, _ = find_modes(network, x, mask, np.zeros((20, 5)), 5)
    assert_rows_stand_alone(lambda rows: tuple(shape_modes(network, x[rows], mask[rows], modes.take(rows))), 20)
