"""The parameters of p(x|z) in graphs, for pairs of a row and a sample and for one sample of each row, against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from anomaly_vae.training.decoder_graph import RowParams, SampleParams, decoder_params, shared_params
from anomaly_vae.training.graph import Graph
from anomaly_vae.training.networks import mlp
from tests.support.graphs import run_graph
from tests.support.models import features_of

N, S, L = 3, 4, 2
BLOCKS = features_of("gaussian", "gaussian", "bernoulli", "conditional", "student_t").layout.blocks
P = BLOCKS[-1].params.stop
GAUSSIAN, CONDITIONAL = (next(b for b in BLOCKS if b.kind == kind) for kind in ("gaussian", "conditional"))
HIDDEN = pytest.mark.parametrize("hidden", [[], [8], [8, 5]])


def decoder_of(hidden):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return mlp([L, *hidden, P])


def arrays(**shapes):
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def decoded(decoder, z):
    """Return the output of torch with the samples last, (N, P, S)."""
    return np.swapaxes(decoder(torch.as_tensor(z)).detach().numpy(), 1, 2)


@HIDDEN
def test_the_parameters_of_each_block_are_the_decoders_output(hidden):
    """The decoder's last layer has a bias, which is added block by block; without hidden layers it is the first too."""
    decoder, given, graph = decoder_of(hidden), arrays(z=(N, S, L)), Graph()
    output = decoder_params(graph, BLOCKS, decoder, None, graph.add("Transpose", "z", perm=[0, 2, 1]))
    wanted = decoded(decoder, given["z"])
    for block in BLOCKS:
        of_block = wanted[:, block.params]
        got = run_graph(graph, output.params(block), **given)
        np.testing.assert_allclose(got, of_block, rtol=1e-4, atol=1e-5)
        for places in (slice(0, 1), slice(block.num_params - 1, block.num_params)):
            got = run_graph(graph, output.params(block, places), **given)
            np.testing.assert_allclose(got, of_block[:, places], rtol=1e-4, atol=1e-5)


@HIDDEN
def test_the_residual_is_x_minus_the_parameters(hidden):
    """The conditional head has two parameters for its column; the residual is of the first, its mean."""
    decoder, given, graph = decoder_of(hidden), arrays(x=(N, 2), z=(N, S, L)), Graph()
    output = decoder_params(graph, BLOCKS, decoder, None, graph.add("Transpose", "z", perm=[0, 2, 1]))
    wanted = decoded(decoder, given["z"])
    got = run_graph(graph, output.residual(GAUSSIAN, "x"), **given)
    np.testing.assert_allclose(got, given["x"][:, :, None] - wanted[:, GAUSSIAN.params], rtol=1e-4, atol=1e-5)
    got = run_graph(graph, output.residual(CONDITIONAL, "x", slice(0, 1)), **given)
    mean = wanted[:, CONDITIONAL.params][:, :1]
    np.testing.assert_allclose(got, given["x"][:, :, None] - mean, rtol=1e-4, atol=1e-5)


def test_given_parameters_are_split_into_blocks_and_shared_by_all_rows():
    """They have the interface of the decoder: any head can use either."""
    given, graph = arrays(x=(N, 2), params=(S, P)), Graph()
    output = shared_params(graph, BLOCKS, "params")
    for block in BLOCKS:
        wanted = given["params"].T[None, block.params]
        np.testing.assert_array_equal(run_graph(graph, output.params(block), **given), wanted)
        for places in (slice(0, 1), slice(block.num_params - 1, block.num_params)):
            got = run_graph(graph, output.params(block, places), **given)
            np.testing.assert_array_equal(got, wanted[:, places])
    got = run_graph(graph, output.residual(GAUSSIAN, "x"), **given)
    np.testing.assert_array_equal(got, given["x"][:, :, None] - given["params"].T[None, GAUSSIAN.params])


def test_given_parameters_may_belong_to_one_row_each():
    given, graph = arrays(x=(N, 2), params=(N, P)), Graph()
    output = RowParams(graph, BLOCKS, "params")
    assert list(output.parts) == [block.kind for block in BLOCKS]
    for block in BLOCKS:
        wanted = given["params"][:, block.params]
        np.testing.assert_array_equal(run_graph(graph, output.params(block), **given), wanted)
        for places in (slice(0, 1), slice(block.num_params - 1, block.num_params)):
            np.testing.assert_array_equal(run_graph(graph, output.params(block, places), **given), wanted[:, places])
    got = run_graph(graph, output.residual(GAUSSIAN, "x"), **given)
    np.testing.assert_array_equal(got, given["x"] - given["params"][:, GAUSSIAN.params])
    got = run_graph(graph, output.residual(CONDITIONAL, "x", slice(0, 1)), **given)
    np.testing.assert_array_equal(got, given["x"] - given["params"][:, CONDITIONAL.params][:, :1])


@pytest.fixture(params=["rows", "samples", "shared samples"])
def placed(request):
    """Return a graph, parameters in it, and the shape of values of 5 columns that go with them."""
    graph, one_block = Graph(), BLOCKS[:1]  # which adds no node
    if request.param == "rows":
        return graph, RowParams(graph, one_block, "params"), (N, 5)
    rows = 1 if request.param == "shared samples" else N
    return graph, SampleParams(graph, one_block, "params"), (rows, 5, S)


def with_samples(values):
    """Return values of columns with an axis of samples, (N, G, S)."""
    return values if values.ndim == 3 else values[:, :, None]


def test_a_constant_has_a_number_for_each_column(placed):
    graph, params, shape = placed
    given, numbers = arrays(terms=shape), np.arange(1.0, 6.0)
    got = run_graph(graph, graph.add("Mul", "terms", params.constant(numbers)), **given)
    assert got.shape == shape
    np.testing.assert_allclose(with_samples(got), with_samples(given["terms"]) * numbers[:, None], rtol=1e-6)


def test_columns_are_combined_by_a_matrix(placed):
    graph, params, shape = placed
    given, matrix = arrays(terms=shape), np.random.default_rng(1).normal(size=(5, 2))
    got = run_graph(graph, params.combined("terms", matrix), **given)
    assert got.shape == (shape[0], 2, *shape[2:])
    wanted = np.einsum("ngs,gc->ncs", with_samples(given["terms"]), matrix)
    np.testing.assert_allclose(with_samples(got), wanted, rtol=1e-5, atol=1e-5)


def test_a_weighted_sum_runs_over_the_columns(placed):
    """Rows may share their samples; the weights are always those of each row."""
    graph, params, shape = placed
    given = arrays(terms=shape, weights=(N, 5))
    got = run_graph(graph, params.weighted_sum("terms", "weights", 5), **given)
    terms = np.broadcast_to(with_samples(given["terms"]), (N, 5, shape[2] if len(shape) == 3 else 1))
    np.testing.assert_allclose(got, np.einsum("ngs,ng->ns", terms, given["weights"]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("net", [nn.Sequential(nn.SiLU(), nn.Linear(2, 2)), nn.Sequential(nn.Linear(2, 2), nn.SiLU())])
def test_a_decoder_must_begin_and_end_with_a_linear_layer(net):
    with pytest.raises(TypeError, match="a decoder starts and ends with Linear, got SiLU"):
        decoder_params(Graph(), [], net, None, "z")


@pytest.mark.parametrize("bias", [False, True])
def test_pieces_of_the_parameters_are_cut_once(bias):
    """A piece that was cut is not copied again; other parameters still are."""
    graph, values = Graph(), arrays(products=(N, P, S), params=(N, P), x=(N, 1))
    given = np.random.default_rng(1).normal(size=P) if bias else None
    for made, wanted in (
        (SampleParams(graph, BLOCKS, "products", given), values["products"] + (given[:, None] if bias else 0.0)),
        (RowParams(graph, BLOCKS, "params"), values["params"]),
    ):
        made.cut(CONDITIONAL, [1, 1])
        of_block = wanted[:, CONDITIONAL.params]
        for places in (slice(0, 1), slice(1, 2), slice(0, 2)):
            got = run_graph(graph, made.params(CONDITIONAL, places), **values)
            np.testing.assert_allclose(got, of_block[:, places], rtol=1e-5, atol=1e-6)
        assert made.params(GAUSSIAN, slice(0, 1)) != made.params(GAUSSIAN, slice(0, 1))
        got = run_graph(graph, made.residual(CONDITIONAL, "x", slice(1, 2)), **values)
        x = values["x"][:, :, None] if got.ndim == 3 else values["x"]
        np.testing.assert_allclose(got, x - of_block[:, 1:], rtol=1e-5, atol=1e-6)
    rows = RowParams(graph, BLOCKS, "params")
    rows.cut(CONDITIONAL, [1, 1])
    assert rows.params(CONDITIONAL, slice(0, 1)) == rows.params(CONDITIONAL, slice(0, 1))


def test_values_of_rows_and_of_columns_take_other_shapes():
    graph, values = Graph(), arrays(products=(N, P, S), params=(N, P), x=(N, 2))
    samples, rows = SampleParams(graph, BLOCKS, "products"), RowParams(graph, BLOCKS, "params")
    np.testing.assert_array_equal(run_graph(graph, samples.rows("x"), **values), values["x"][:, :, None])
    np.testing.assert_array_equal(run_graph(graph, rows.rows("x"), **values), values["x"])
    got = run_graph(graph, samples.shaped("products", P, 1), **values)
    np.testing.assert_array_equal(got, values["products"].reshape(N, P, 1, S))
    got = run_graph(graph, samples.shaped(samples.shaped("products", P, 1), P), **values)
    np.testing.assert_array_equal(got, values["products"])
    np.testing.assert_array_equal(run_graph(graph, rows.shaped("x", 2, 1), **values), values["x"].reshape(N, 2, 1))
