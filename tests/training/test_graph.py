"""ONNX graphs written node by node, run by onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from anomaly_vae.bundle.onnx_wire import check_graph
from anomaly_vae.training.graph import Graph, to_numpy
from anomaly_vae.training.layer_graphs import add_layers
from tests.support.graphs import run_graph

X = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)


def three_layers():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 8), nn.SiLU(), nn.Linear(8, 3))


def test_a_value_is_split_into_its_pieces_in_order():
    graph = Graph()
    names = graph.split("x", [1, 2, 3])
    assert len(set(names)) == 3
    for name, piece in zip(names, np.split(X, [1, 3], axis=1), strict=True):
        np.testing.assert_array_equal(run_graph(graph, name, x=X), piece)
    assert graph.split("x", [6]) == ["x"]


def test_a_value_is_clipped_on_both_sides():
    graph = Graph()
    np.testing.assert_array_equal(run_graph(graph, graph.clip("x", 0.5), x=X), np.clip(X, -0.5, 0.5))


WIDE = np.array([-3e38, -1e4, -100.0, -20.0, -1.0, -0.0, 0.0, 1e-6, 0.5, 3.0, 20.0, 89.0, 1e4, 3e38], dtype=np.float32)


def softplus(x):
    """Return log(1 + exp(x)) in float64."""
    return np.logaddexp(0.0, x.astype(np.float64))


def test_softplus_is_the_logarithm_of_1_plus_exp():
    """Also where the exponential overflows or is lost against 1."""
    graph = Graph()
    np.testing.assert_allclose(run_graph(graph, graph.softplus("x"), x=WIDE), softplus(WIDE), rtol=3e-7, atol=1.2e-7)


def test_softplus_of_several_values_is_the_sum_with_one_logarithm():
    rng, graph = np.random.default_rng(0), Graph()
    inputs = {name: (10.0 * rng.normal(size=(50, 3))).astype(np.float32) for name in "xyz"}
    got = run_graph(graph, graph.softplus("x", "y", "z"), **inputs)
    np.testing.assert_allclose(got, sum(map(softplus, inputs.values())), rtol=1e-6, atol=1e-6)
    assert [node.op_type for node in graph._nodes].count("Log") == 1


def test_softplus_of_the_largest_values_does_not_overflow():
    graph = Graph()
    got = run_graph(graph, graph.softplus("x", "y"), x=WIDE, y=np.zeros_like(WIDE))
    np.testing.assert_allclose(got, softplus(WIDE) + np.log(2.0), rtol=1e-6, atol=1e-6)


def test_constants_are_float32_and_shapes_int64_as_the_operators_need_them():
    """Weights keep their shape, and a transposed array its values: ONNX files store rows one after the other."""
    graph = Graph()
    array = np.arange(6.0).reshape(2, 3).T
    names = graph.weight(array), graph.weight(torch.as_tensor(array)), graph.scalar(2.5), graph.integers([-1, 2])
    graph.add("Identity", "x", outputs=["y"])
    model = onnx.load_from_string(graph.bytes("g", {"x": ["N", 6]}, {"y": ["N", 6]}))
    found = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    for name in names[:2]:
        np.testing.assert_array_equal(found[name], array.astype(np.float32), strict=True)
    np.testing.assert_array_equal(found[names[2]], np.float32(2.5), strict=True)
    np.testing.assert_array_equal(found[names[3]], np.array([-1, 2]), strict=True)


def test_the_same_network_gives_the_same_bytes_that_the_reader_of_bundles_accepts():
    """The digest of a bundle must not depend on the machine or on the moment."""
    both = []
    for _ in range(2):
        graph = Graph()
        add_layers(graph, three_layers(), "x", (6,), outputs=["y"])
        both.append(graph.bytes("encoder", {"x": ["N", 6]}, {"y": ["N", 3]}))
    assert both[0] == both[1]
    check_graph(both[0], "encoder.onnx")


def test_a_graph_whose_output_no_node_makes_is_not_written():
    with pytest.raises(onnx.checker.ValidationError):
        Graph().bytes("g", {"x": ["N", 6]}, {"y": ["N", 6]})


def test_values_become_float64_without_their_gradient():
    values = to_numpy(nn.Parameter(torch.tensor([0.1, 2.0])))
    np.testing.assert_array_equal(values, np.array([0.1, 2.0], dtype=np.float32).astype(np.float64), strict=True)
