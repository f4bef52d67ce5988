"""Latent positions as points."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.plot.projection import project


def test_many_dimensions_are_projected_to_the_directions_of_the_most_variance():
    """The sign does not depend on the machine: the largest part of each direction is positive."""
    means = np.random.default_rng(0).normal(size=(500, 4)) * [1.0, 5.0, 0.1, 3.0]
    points, note = project(means)
    assert np.corrcoef(points[:, 0], means[:, 1])[0, 1] > 0.99
    assert np.corrcoef(points[:, 1], means[:, 3])[0, 1] > 0.99
    np.testing.assert_allclose(project(-means)[0], -points)
    assert note.startswith("the first two principal directions of 4 latent dimensions, ")
    assert float(note.split(", ")[1].split("%")[0]) == pytest.approx(100 * 34 / 35.01, abs=2)


def test_two_and_one_dimensions_are_shown_as_they_are():
    means = np.random.default_rng(0).normal(size=(5, 2))
    np.testing.assert_array_equal(project(means)[0], means)
    np.testing.assert_array_equal(project(means[:, :1])[0], np.column_stack([means[:, 0], np.zeros(5)]))


def test_the_axes_can_be_those_of_other_positions():
    """Rows far away do not turn the map of usual ones."""
    usual = np.random.default_rng(0).normal(size=(200, 3)) * [5.0, 2.0, 0.1]
    far = np.array([[0.0, 0.0, 1e6]])
    points, text = project(np.concatenate([usual, far]), among=usual)
    np.testing.assert_allclose(points[:-1], project(usual)[0])
    assert text == project(usual)[1]
    assert np.abs(points[-1]).max() < 1e6
