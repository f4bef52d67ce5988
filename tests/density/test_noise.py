"""The points behind the samples of every row."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from anomaly_vae.density.noise import Noise
from anomaly_vae.training.noise import sobol_normal

VALUES = sobol_normal(4, 8, 3, seed=0)


def test_a_slice_has_the_same_points_of_every_scrambling_and_their_log_density():
    noise = Noise(VALUES)
    assert (noise.scramblings, noise.num_points, noise.latent_dim) == (4, 8, 3)
    points, log_density = noise.slice(2, 5)
    np.testing.assert_array_equal(points.reshape(4, 3, 3), VALUES[:, 2:5])
    assert points.dtype == np.float32
    np.testing.assert_allclose(log_density, norm.logpdf(points.astype(np.float64)).sum(axis=-1), rtol=1e-12)


def test_slices_in_a_row_are_the_slice_of_the_whole():
    """A sampler that takes points in rounds must see each point once."""
    noise = Noise(VALUES)
    parts = [noise.slice(a, b)[0].reshape(4, -1, 3) for a, b in ((0, 1), (1, 4), (4, 8))]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), noise.slice(0, 8)[0].reshape(4, 8, 3))


def test_a_slice_is_computed_once():
    noise = Noise(VALUES)
    assert noise.slice(0, 4)[0] is noise.slice(0, 4)[0]


def test_a_smaller_model_has_the_first_dimensions_of_the_points():
    """The members of an ensemble may have different numbers of latents."""
    noise = Noise(VALUES)
    assert noise.narrowed(3) is noise
    narrow = noise.narrowed(2)
    np.testing.assert_array_equal(narrow.values, VALUES[..., :2])
    assert narrow.values.flags.c_contiguous
    assert narrow.slice(0, 8)[0].shape == (32, 2)
