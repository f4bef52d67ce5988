"""Shapes by our own rules against those of the onnx package."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from anomaly_vae.bundle.onnx_nodes import Cost, Node, ShapeError
from anomaly_vae.bundle.onnx_shapes import _RULES, value_shapes
from anomaly_vae.bundle.onnx_wire import OPERATORS, check_graph
from anomaly_vae.training.export import export_graphs
from tests.support.models import ALL, vae_of

SIZES = {"N": 16, "S": 128, "M": 16}
GRAPHS = export_graphs(vae_of(*ALL, hidden=(16, 8), latent_dim=3, components=2))


def test_each_operator_has_a_rule():
    assert set(_RULES) == set(OPERATORS)


def test_a_graph_of_every_kind_of_column_uses_every_operator():
    used = {node.op_type for data in GRAPHS.values() for node in onnx.load_from_string(data).graph.node}
    assert used == OPERATORS - {"Conv", "ConvTranspose"}


@pytest.mark.parametrize("name", GRAPHS)
def test_shapes_are_those_that_onnx_infers(name):
    model = onnx.load_from_string(GRAPHS[name])
    for info in (*model.graph.input, *model.graph.output):
        for dim in info.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_value = SIZES[dim.dim_param]
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    expected = {
        info.name: tuple(dim.dim_value for dim in info.type.tensor_type.shape.dim)
        for info in (*inferred.value_info, *inferred.output)
    }
    weights = {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}
    inputs = {i.name: tuple(dim.dim_value for dim in i.type.tensor_type.shape.dim) for i in model.graph.input}
    nodes = [
        Node(
            node.op_type, tuple(node.input), tuple(node.output), {a.name: tuple(a.ints) or a.i for a in node.attribute}
        )
        for node in model.graph.node
    ]
    shapes = value_shapes(
        nodes,
        inputs,
        {key: array.shape for key, array in weights.items()},
        {key: tuple(array.tolist()) for key, array in weights.items() if array.dtype == np.int64},
        Cost(2**30, 2**30),
    )
    made = {output for node in nodes for output in node.outputs}
    assert {key: shapes[key] for key in made} == expected


SHAPES = {"x": (4, 3), "y": (3, 5), "odd": (7,), "one": (1, 4, 1)}
INTEGERS = {"axis": (0,), "two": (2, 5), "far": (9,), "many": (-1, -1), "parts": (1, 1), "twice": (0, 0)}


@pytest.mark.parametrize(
    ("operator", "inputs", "text"),
    [
        ("Exp", ["nothing"], "not the output of an earlier node"),
        ("Exp", [], "not the output of an earlier node"),
        ("Add", ["x", "odd"], r"shapes \(4, 3\) and \(7,\) do not fit"),
        ("Concat", ["x", "y"], "cannot be concatenated"),
        ("Concat", [], "cannot be concatenated"),
        ("Gemm", ["x", "x"], "do not fit"),
        ("Gemm", ["x", "odd"], "Gemm has inputs"),
        ("MatMul", ["odd", "odd"], "MatMul has inputs"),
        ("Squeeze", ["x", "far"], "axis 9 of a value of 2 dimensions"),
        ("Squeeze", ["x", "y"], "not known before it runs"),
        ("Reshape", ["x", "two"], "cannot take the shape"),
        ("Reshape", ["x", "many"], "cannot take the shape"),
        ("Split", ["x", "parts"], "cannot be split"),
        ("Squeeze", ["x", "axis"], "sizes other than 1 on the axes"),
        ("Unsqueeze", ["x", "twice"], "names an axis twice"),
        ("MatMul", ["x", "y"], "more than 19 elements"),
    ],
)
def test_nodes_that_do_not_fit_are_refused(operator, inputs, text):
    shapes = SHAPES | {name: (len(values),) for name, values in INTEGERS.items()}
    with pytest.raises(ShapeError, match=text):
        value_shapes([Node(operator, tuple(inputs), ("out",), {})], {}, shapes, INTEGERS, Cost(19, 100))


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes", "text"),
    [
        ("Transpose", ["one"], {"perm": (0, 1)}, r"value of 3 dimensions has the order \(0, 1\)"),
        ("Transpose", ["one"], {"perm": (0, 1, 1)}, r"has the order \(0, 1, 1\)"),
        ("Transpose", ["one"], {"perm": (1, 2, 3)}, r"has the order \(1, 2, 3\)"),
        ("Transpose", ["one"], {"perm": (0, 1, -1)}, r"has the order \(0, 1, -1\)"),
        ("Transpose", ["odd"], {"perm": 0}, "has the order 0"),
        ("Transpose", ["x"], {}, "has the order None"),
        ("Concat", ["x", "x"], {"axis": (0, 1)}, "attribute axis of a node Concat is a list"),
        ("Gemm", ["x", "y"], {"transA": (1, 1)}, "attribute transA of a node Gemm is a list"),
        ("Shape", ["x"], {"start": (0, 1)}, "attribute start of a node Shape is a list"),
    ],
)
def test_attributes_that_do_not_fit_are_refused(operator, inputs, attributes, text):
    with pytest.raises(ShapeError, match=text):
        value_shapes([Node(operator, tuple(inputs), ("out",), attributes)], SHAPES, {}, {}, Cost(100, 100))


COSTLY = {
    "a": (4, 3),
    "b": (3, 5),
    "c": (5, 3),
    "d": (2, 4, 3),
    "e": (2, 3, 1),
    "image": (2, 3, 4, 4),
    "kernel": (5, 3, 2, 2),
    "back": (3, 5, 2, 2),
}


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes", "elements", "steps"),
    [
        ("MatMul", ["a", "b"], {}, 20, 60 + 16 * 27),
        ("MatMul", ["d", "b"], {}, 40, 120 + 16 * 39),
        ("MatMul", ["d", "e"], {}, 8, 24 + 16 * 30),
        ("MatMul", ["a", "e"], {}, 8, 24 + 16 * 30),
        ("Gemm", ["a", "b"], {}, 20, 60 + 16 * 27),
        ("Gemm", ["a", "c"], {"transB": 1}, 20, 60 + 16 * 27),
        ("ReduceMax", ["a", "axis"], {"keepdims": 0}, 3, 16 * 12),
        ("Conv", ["image", "kernel"], {}, 90 + 108, 216 * 21 + 2 * 16 * 60),
        ("ConvTranspose", ["image", "back"], {}, 250 + 320, 640 * 19 + 2 * 16 * 60),
        ("Add", ["a", "a"], {}, 12, 0),
    ],
)
def test_memory_and_steps_are_limited(operator, inputs, attributes, elements, steps):
    """Two equal nodes need twice the values and steps, but scratch memory only once."""
    nodes = [Node(operator, tuple(inputs), (name,), attributes) for name in "yz"]
    known = ({}, COSTLY | {"axis": (1,)}, {"axis": (0,)})
    output = math.prod(value_shapes(nodes[:1], *known, Cost(elements, steps))["y"])
    value_shapes(nodes, *known, Cost(elements + output, 2 * steps))
    with pytest.raises(ShapeError, match=f"more than {elements + output - 1} elements"):
        value_shapes(nodes, *known, Cost(elements + output - 1, 2 * steps))
    if steps:
        with pytest.raises(ShapeError, match=f"more than {2 * steps - 1} multiplications"):
            value_shapes(nodes, *known, Cost(elements + output, 2 * steps - 1))


def test_a_transpose_moves_the_axes():
    shapes = value_shapes([Node("Transpose", ("one",), ("out",), {"perm": (1, 2, 0)})], SHAPES, {}, {}, Cost(100, 100))
    assert shapes["out"] == (4, 1, 1)


def test_models_far_wider_than_deep_pass():
    """Many columns per weight of a layer come closest to the limit."""
    for data in export_graphs(vae_of(*("conditional",) * 2000, latent_dim=1, hidden=(1,))).values():
        check_graph(data, "x.onnx")
