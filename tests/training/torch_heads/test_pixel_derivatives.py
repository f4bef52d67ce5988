"""The derivatives of the head of pixels for bytes; test_derivatives compares all heads with torch and with numpy."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.columns.heads.pixel import PixelLikelihood
from anomaly_vae.training.graph import Graph
from anomaly_vae.training.torch_heads.derivatives import Derivatives
from anomaly_vae.training.torch_heads.pixel_derivatives import at_most, outer_cells, pixel_derivatives
from tests.support.graphs import run_graph

G = 5
HALF, LEAST = np.full(G, 1.0 / 255.0), np.full(G, 0.5 / 255.0)


def case(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = (np.clip(rng.integers(-100, 356, size=(40, G)), 0, 255) / 127.5 - 1.0).astype(np.float32)
    params = rng.normal(size=(40, 5, G))
    params[:, 2:4] -= 2.0
    return x, (rng.random((40, G)) < 0.9).astype(np.float32), params.reshape(40, -1).astype(np.float32)


def computed(x, mask, params) -> Derivatives:
    graph = Graph()
    names = pixel_derivatives(graph, "params", "x", "mask", HALF, LEAST)
    return Derivatives(*(run_graph(graph, each, x=x, mask=mask, params=params) for each in names))


def test_slope_and_information_of_bytes_are_those_of_numpy():
    given = case()
    got, likelihood = computed(*given), PixelLikelihood([256] * G)
    x, mask, params = (each.astype(np.float64) for each in given)
    for values, expected in (
        (got.slope, likelihood.slope(x, mask, params)),
        (got.information, likelihood.information(x, mask, params)),
    ):
        np.testing.assert_allclose(values, expected, rtol=2e-3, atol=1e-5 * np.abs(expected).max())


def test_the_curvature_is_minus_the_difference_of_slopes():
    x, mask, params = (each.astype(np.float64) for each in case(1))
    curvature, likelihood = computed(x, mask, params).curvature, PixelLikelihood([256] * G)
    for p in range(5 * G):
        nudge = 1e-6 * np.eye(5 * G)[p]
        up, down = (likelihood.slope(x, mask, params + sign * nudge)[:, p] for sign in (1.0, -1.0))
        expected = -(up - down) / 2e-6
        np.testing.assert_allclose(curvature[:, p], expected, rtol=2e-3, atol=2e-5 * np.abs(expected).max())


def test_a_level_is_in_an_outer_cell_or_not():
    graph = Graph()
    names = outer_cells(graph, "x", np.full(256, 1.0 / 255.0))
    x = (np.arange(256) / 127.5 - 1.0)[None]
    high, low = (run_graph(graph, name, x=x)[0] for name in names)
    np.testing.assert_array_equal(high, np.arange(256) == 255)
    np.testing.assert_array_equal(low, np.arange(256) == 0)


@pytest.mark.parametrize("limit", [0.0, 0.7])
def test_at_most_is_the_smaller_one(limit):
    graph, x = Graph(), np.array([-1e30, -1.0, 0.5, 1e30])
    np.testing.assert_allclose(run_graph(graph, at_most(graph, "x", limit), x=x), np.minimum(x, limit), rtol=1e-6)


def test_beyond_their_limits_the_scale_and_the_weight_have_no_derivatives():
    x, mask, params = case(2)
    by_kind = params.reshape(40, 5, G)
    by_kind[:, 2:4], by_kind[::2, 4], by_kind[1::2, 4] = 1.0, 10.5, -10.5
    for values in computed(x, mask, params):
        assert not values.reshape(40, 5, G)[:, 2:].any()
        assert values.reshape(40, 5, G)[:, :2].any()


def test_far_from_both_locations_the_information_is_that_of_numpy():
    """The derivative of the sigmoid is multiplied with the square of a distance that float32 cannot hold."""
    x, mask, params = case(3)
    params.reshape(40, 5, G)[:, :2] += 1e22
    got = computed(x, mask, params).information
    expected = PixelLikelihood([256] * G).information(*(each.astype(np.float64) for each in (x, mask, params)))
    of_scale = slice(2 * G, 4 * G)
    np.testing.assert_allclose(got[:, of_scale], expected[:, of_scale], rtol=1e-2, atol=1e-3)
