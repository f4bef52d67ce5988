"""The decoder in the log-joint graph, for all pairs of a row and a sample, against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from anomaly_vae.training.decoder_graph import DecoderGraph, GivenParams, weighted_sum
from anomaly_vae.training.graph import Graph
from anomaly_vae.training.networks import mlp
from tests.support.graphs import run_graph
from tests.support.models import features_of

N, S, L = 3, 4, 2
BLOCKS = features_of("gaussian", "gaussian", "bernoulli", "conditional", "student_t").layout.blocks
HIDDEN = pytest.mark.parametrize("hidden", [[], [8], [8, 5]])


def decoder_of(hidden):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return mlp([L, *hidden, BLOCKS[-1].params.stop])


def example(rows=1):
    """Noise that all rows share, or that of each row."""
    rng = np.random.default_rng(0)
    arrays = {"x": rng.normal(size=(N, 2)), "loc": rng.normal(size=(N, L)), "noise": rng.normal(size=(rows, S, L))}
    return {name: array.astype(np.float32) for name, array in (arrays | {"scale": np.exp(arrays["loc"])}).items()}


def decoded(decoder, given):
    """Return the output of torch for z = loc + scale * noise, shape (N, S, P)."""
    z = given["loc"][:, None] + given["scale"][:, None] * given["noise"]
    return decoder(torch.as_tensor(z)).detach().numpy()


@HIDDEN
@pytest.mark.parametrize("rows", [1, N])
def test_the_parameters_of_each_block_are_the_decoders_output(hidden, rows):
    """Without hidden layers the first layer is the last one, and the graph has another form."""
    decoder, given, graph = decoder_of(hidden), example(rows), Graph()
    output = DecoderGraph(graph, decoder)
    wanted = decoded(decoder, given)
    for block in BLOCKS:
        got = run_graph(graph, output.params(block), **given)
        np.testing.assert_allclose(got, wanted[..., block.params], rtol=1e-4, atol=1e-5)
        first = run_graph(graph, output.params(block, slice(0, 1)), **given)
        np.testing.assert_allclose(first, wanted[..., block.params][..., :1], rtol=1e-4, atol=1e-5)


@HIDDEN
@pytest.mark.parametrize("rows", [1, N])
def test_the_residual_is_x_minus_the_parameters(hidden, rows):
    """The conditional head has two parameters for its column; the residual is of the first, its mean."""
    decoder, given, graph = decoder_of(hidden), example(rows), Graph()
    output = DecoderGraph(graph, decoder)
    gaussian, conditional = (next(b for b in BLOCKS if b.kind == kind) for kind in ("gaussian", "conditional"))
    wanted = decoded(decoder, given)
    got = run_graph(graph, output.residual(gaussian, "x"), **given)
    np.testing.assert_allclose(got, given["x"][:, None] - wanted[..., gaussian.params], rtol=1e-4, atol=1e-5)
    got = run_graph(graph, output.residual(conditional, "x", slice(0, 1)), **given)
    mean = wanted[..., conditional.params][..., :1]
    np.testing.assert_allclose(got, given["x"][:, None] - mean, rtol=1e-4, atol=1e-5)


def test_given_parameters_are_split_into_blocks_and_shared_by_all_rows():
    """They have the interface of the decoder: any head can use either."""
    rng, graph = np.random.default_rng(0), Graph()
    arrays = {"x": rng.normal(size=(N, 2)), "params": rng.normal(size=(S, BLOCKS[-1].params.stop))}
    given = {name: array.astype(np.float32) for name, array in arrays.items()}
    output = GivenParams(graph, BLOCKS, "params", shared=True)
    for block in BLOCKS:
        wanted = given["params"][None, :, block.params]
        np.testing.assert_array_equal(run_graph(graph, output.params(block), **given), wanted)
        for places in (slice(0, 1), slice(block.num_params - 1, block.num_params)):
            got = run_graph(graph, output.params(block, places), **given)
            np.testing.assert_array_equal(got, wanted[..., places])
    gaussian = next(block for block in BLOCKS if block.kind == "gaussian")
    got = run_graph(graph, output.residual(gaussian, "x"), **given)
    np.testing.assert_array_equal(got, given["x"][:, None] - given["params"][None, :, gaussian.params])


def test_given_parameters_may_belong_to_one_row_each():
    rng, graph = np.random.default_rng(0), Graph()
    arrays = {"x": rng.normal(size=(N, 2)), "params": rng.normal(size=(N, BLOCKS[-1].params.stop))}
    given = {name: array.astype(np.float32) for name, array in arrays.items()}
    output = GivenParams(graph, BLOCKS, "params", shared=False)
    for block in BLOCKS:
        wanted = given["params"][:, None, block.params]
        np.testing.assert_array_equal(run_graph(graph, output.params(block), **given), wanted)
    gaussian = next(block for block in BLOCKS if block.kind == "gaussian")
    got = run_graph(graph, output.residual(gaussian, "x"), **given)
    np.testing.assert_array_equal(got, (given["x"] - given["params"][:, gaussian.params])[:, None])


def test_a_weighted_sum_runs_over_the_last_axis():
    graph, rng = Graph(), np.random.default_rng(0)
    terms, weights = rng.normal(size=(N, S, 5)), rng.normal(size=(N, 5))
    got = run_graph(graph, weighted_sum(graph, "terms", "weights"), terms=terms, weights=weights)
    np.testing.assert_allclose(got, np.einsum("nsg,ng->ns", terms, weights), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("net", [nn.Sequential(nn.SiLU(), nn.Linear(2, 2)), nn.Sequential(nn.Linear(2, 2), nn.SiLU())])
def test_a_decoder_must_begin_and_end_with_a_linear_layer(net):
    with pytest.raises(TypeError, match="a decoder starts and ends with Linear, got SiLU"):
        DecoderGraph(Graph(), net)
