"""The fitted proposal where the posterior is known: linear-Gaussian models, and posteriors with two modes."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from anomaly_vae.density.modes import Modes
from anomaly_vae.density.proposals import allocate, component_log_probs, draw, fit_mixture, mixture_log_prob
from anomaly_vae.training.noise import sobol_normal


def two_modes(share_gap=1.0):
    """Return a mixture for three rows with different modes; the second row has one mode only."""
    rng = np.random.default_rng(3)
    root = rng.normal(size=(2, 3, 2, 2)) * 0.3 + np.eye(2)
    loc = rng.normal(size=(2, 3, 2)) * 4
    loc[1, 1] = loc[0, 1]
    evidence = np.array([[0.0, 0.0, -share_gap], [-share_gap, -1.0, 0.0]])
    modes = Modes(loc, root, np.linalg.inv(root), np.linalg.slogdet(root)[1], evidence)
    return fit_mixture(modes, rng.normal(size=(3, 2)), rng.uniform(0.5, 2, size=(3, 2))), modes


def test_the_mode_with_more_evidence_is_the_first_and_only_a_distant_mode_is_a_second_one():
    mixture, modes = two_modes()
    np.testing.assert_array_equal(mixture.first.loc, modes.loc[[0, 0, 1], [0, 1, 2]])
    assert mixture.share[1] == 0.0
    np.testing.assert_allclose(mixture.share[[0, 2]], 1 / (1 + np.e))
    negligible, _ = two_modes(share_gap=20.0)
    assert not negligible.share.any()


@pytest.mark.parametrize("num_points", [1, 2, 5, 16, 45, 57, 240])
def test_every_point_goes_to_a_component_and_at_least_an_eighth_to_the_encoder_s(num_points):
    mixture, _ = two_modes()
    counts = allocate(mixture, num_points)
    np.testing.assert_array_equal(counts.sum(axis=1), num_points)
    assert np.all(counts >= 0)
    assert np.all(counts[:, 4] >= num_points / 8)
    assert not counts[1, [1, 3]].any()


def test_the_mixture_s_density_is_that_of_its_samples():
    """It equals scipy's densities, and the samples weighted by 1 / q integrate to the volume of a box."""
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
