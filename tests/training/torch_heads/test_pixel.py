"""The head of pixels in training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from anomaly_vae.columns.heads import ColumnModel, PixelHead
from anomaly_vae.columns.heads.pixel import PixelLikelihood
from anomaly_vae.columns.schema import Column
from anomaly_vae.columns.transforms import Standardise
from anomaly_vae.errors import ConfigError
from anomaly_vae.training.decoder_graph import RowParams, SampleParams
from anomaly_vae.training.graph import Graph
from anomaly_vae.training.torch_heads.pixel import Pixel
from anomaly_vae.training.torch_heads.table import TableHead
from tests.support.graphs import run_graph
from tests.support.models import BEND
from tests.support.training import column_data

LINE = Standardise(center=127.5, scale=127.5)
PIXEL = Column(name="a", kind="integer", step=1.0, origin=0.0)


def head_of_bytes(number: int) -> Pixel:
    (head,) = TableHead([ColumnModel(head=PixelHead(low=0.0, step=1.0, levels=256), transform=LINE)] * number).parts
    return head


def levels(*shape: int) -> np.ndarray:
    """Return levels in model units, many of them in the outer cells."""
    rng = np.random.default_rng(0)
    return np.clip(rng.integers(-100, 356, size=shape), 0, 255) / 127.5 - 1.0


def params_of(number: int, *shape: int, size: float = 1.0) -> np.ndarray:
    """Return parameters of so many columns, with scales of a few levels, (*shape, 5 * number)."""
    rng = np.random.default_rng(1)
    params = size * rng.normal(size=(*shape, 5, number))
    params[..., 2:4, :] -= 4.0
    return params.reshape(*shape, -1)


def graph_log_prob(head: Pixel, x: np.ndarray, mask: np.ndarray, params: np.ndarray) -> np.ndarray:
    """Run the nodes for samples (N, S, P)."""
    graph = Graph()
    made = SampleParams(graph, [head.block], "products")
    name = head.onnx_log_prob(graph, made, "x", "mask")
    return run_graph(graph, name, x=x, mask=mask, products=np.swapaxes(params, 1, 2))


@pytest.mark.parametrize("number", [1, 3, 4, 5, 21])
@pytest.mark.parametrize("size", [0.1, 1.0, 5.0])
def test_torch_and_the_graph_have_the_probability_of_numpy(number, size):
    """Also where the columns cannot be cut into groups of equal size that share a logarithm."""
    head = head_of_bytes(number).double()
    x, params = levels(6, number), params_of(number, 6, 7, size=size)
    mask = (np.random.default_rng(2).random((6, number)) < 0.8).astype(float)
    expected = PixelLikelihood([256] * number).log_prob(x[:, None], mask[:, None], params)
    tensors = [torch.as_tensor(each) for each in (x[:, None], params, mask[:, None])]
    np.testing.assert_allclose(head(*tensors).numpy(), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(graph_log_prob(head, x, mask, params), expected, rtol=2e-5, atol=2e-4)


def test_columns_may_have_different_levels():
    models = [ColumnModel(head=PixelHead(low=0.0, step=1.0, levels=n), transform=LINE) for n in (2, 11, 256, 65536, 11)]
    (head,) = TableHead(models).double().parts
    x, params, mask = levels(6, 5), params_of(5, 6, 4), np.ones((6, 5))
    expected = PixelLikelihood([2, 11, 256, 65536, 11]).log_prob(x[:, None], mask[:, None], params)
    np.testing.assert_allclose(graph_log_prob(head, x, mask, params), expected, rtol=1e-4, atol=1e-3)


def test_missing_cells_add_nothing_wherever_the_locations_are():
    head, x = head_of_bytes(6), levels(5, 6)
    for size in (1.0, 1e6):
        got = graph_log_prob(head, x, np.zeros_like(x), params_of(6, 5, 4, size=size))
        np.testing.assert_array_equal(got, 0.0)


@pytest.mark.parametrize("size", [1e2, 1e4, 1e9])
def test_far_out_the_graph_has_a_finite_log_probability(size):
    """Scales are small beside the distances: exp of the distances in scales is 0 or infinite in float32."""
    number = 9
    head, x, mask = head_of_bytes(number), levels(6, number), np.ones((6, number))
    params = params_of(number, 6, 7, size=1.0)
    params[..., : 2 * number] *= size
    got = graph_log_prob(head, x, mask, params)
    expected = PixelLikelihood([256] * number).log_prob(x[:, None], mask[:, None], params)
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got, expected, rtol=1e-4)
    graph = Graph()
    rows = RowParams(graph, [head.block], "params")
    one = run_graph(graph, head.onnx_log_prob(graph, rows, "x", "mask"), x=x, mask=mask, params=params[:, 0])
    np.testing.assert_allclose(one[:, 0], expected[:, 0], rtol=1e-4)


def test_products_of_the_least_probabilities_are_above_the_least_number_of_float32():
    """Four cells share a logarithm: the nearer component has the least weight and the largest scale."""
    head, x, mask = head_of_bytes(8), np.zeros((1, 8)), np.ones((1, 8))
    params = np.zeros((1, 1, 5, 8))
    params[..., 0, :], params[..., 1, :], params[..., 2:4, :], params[..., 4, :] = 0.0, 1e6, 9.0, -99.0
    params = params.reshape(1, 1, -1)
    expected = PixelLikelihood([256] * 8).log_prob(x, mask, params[0])
    np.testing.assert_allclose(graph_log_prob(head, x, mask, params)[0], expected, rtol=1e-5)
    assert expected[0] < -8 * 16.0


@pytest.mark.parametrize("size", [1.0, 1e2, 1e6])
def test_gradients_are_finite_in_float32(size):
    head = head_of_bytes(50)
    params = torch.tensor(params_of(50, 20, size=size), dtype=torch.float32, requires_grad=True)
    x = torch.tensor(levels(20, 50), dtype=torch.float32)
    head(x, params, torch.ones_like(x)).sum().backward()
    assert params.grad is not None
    assert torch.isfinite(params.grad).all()
    assert params.grad.abs().max() > 0.1


def test_training_starts_at_the_mean_of_each_pixel():
    """The first location is one below the mean, where a black pixel has its whole weight in the lowest cell."""
    head = head_of_bytes(3)
    mean = torch.tensor([-1.0, 0.0, 0.5])
    start = head.start(mean).reshape(5, 3)
    np.testing.assert_allclose(start[0], mean - 1.0)
    np.testing.assert_allclose(start[1:], [[0.5] * 3, [-2.0] * 3, [-2.0] * 3, [0.0] * 3])


def test_the_levels_follow_from_the_transform():
    """The transform maps the lowest level to -1, and the highest one to 1."""
    assert Pixel.initial(column_data([3, 4], PIXEL, LINE)) == PixelHead(low=0.0, step=1.0, levels=256)
    half = Column(name="a", kind="continuous", step=0.5)
    assert Pixel.initial(column_data([1, 2], half, Standardise(center=1.0, scale=2.0))) == PixelHead(
        low=-1.0, step=0.5, levels=9
    )


@pytest.mark.parametrize(("step", "transform"), [(None, LINE), (1.0, BEND)])
def test_only_values_on_a_grid_are_accepted(step, transform):
    with pytest.raises(ConfigError, match="likelihood 'pixel': the values of column 'a' are not on a grid"):
        Pixel.initial(column_data([1, 2], Column(name="a", kind="continuous", step=step), transform))
