"""Shapes and costs of convolutions: what does not fit is refused, and shapes are those of onnx and onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from anomaly_vae.bundle.onnx_convolutions import conv, conv_cost, conv_transpose, conv_transpose_cost
from anomaly_vae.bundle.onnx_nodes import Cost, Node, ShapeError, Values

RULES = {"Conv": (conv, conv_cost), "ConvTranspose": (conv_transpose, conv_transpose_cost)}
BOTH = pytest.mark.parametrize("operator", RULES)

# Values, and weights that fit 3 channels: (M, C, ...) for Conv, (C, M, ...) for ConvTranspose.
INPUTS = {"x": (2, 3, 8, 9), "flat": (2, 24), "line": (2, 3, 8), "none": (0, 3, 8, 9)}
WEIGHTS = {
    "Conv": {"w": (5, 3, 2, 4), "row": (5, 3, 2), "wide": (5, 4, 2, 4), "bias": (5,), "short": (3,), "matrix": (5, 1)},
    "ConvTranspose": {
        "w": (3, 5, 2, 4),
        "row": (3, 5, 2),
        "wide": (4, 5, 2, 4),
        "bias": (5,),
        "short": (3,),
        "matrix": (5, 1),
    },
}


def node(operator, *inputs, **attributes):
    return Node(operator, inputs or ("x", "w"), ("y",), attributes)


def values(operator):
    return Values(INPUTS, WEIGHTS[operator], {})


@BOTH
@pytest.mark.parametrize(
    ("inputs", "attributes", "text"),
    [
        ((), {"auto_pad": 0}, "attribute 'auto_pad' that a model does not use"),
        ((), {"output_shape": (2, 5, 8, 9)}, "attribute 'output_shape' that a model does not use"),
        ((), {"unknown": 1}, "attribute 'unknown' that a model does not use"),
        ((), {"group": 3}, "of 3 groups"),
        ((), {"group": 0}, "of 0 groups"),
        ((), {"group": (1,)}, "attribute group .* is a list"),
        ((), {"kernel_shape": (4, 2)}, r"kernel_shape \(4, 2\)"),
        ((), {"kernel_shape": (2,)}, "expected a list of 2 integers"),
        ((), {"kernel_shape": 2}, "attribute kernel_shape .* is 2, expected a list"),
        ((), {"strides": (0, 1)}, r"strides \(0, 1\)"),
        ((), {"strides": (1, -1)}, r"strides \(1, -1\)"),
        ((), {"strides": (17, 1)}, "expected 1 to 16"),
        ((), {"strides": (1, 1, 1)}, "expected a list of 2 integers"),
        ((), {"dilations": (0, 1)}, r"dilations \(0, 1\)"),
        ((), {"dilations": (1, 17)}, "expected 1 to 16"),
        ((), {"dilations": 0}, "attribute dilations .* is 0, expected a list"),
        ((), {"pads": (0, 0, 0, -1)}, r"pads \(0, 0, 0, -1\)"),
        ((), {"pads": (2, 0, 0, 0)}, r"pads \(2, 0, 0, 0\), expected less than the kernel's extents \(2, 4\)"),
        ((), {"pads": (0, 0, 0, 4)}, r"pads \(0, 0, 0, 4\), expected less"),
        ((), {"pads": (0, 7, 0, 0), "dilations": (1, 2)}, r"pads \(0, 7, 0, 0\), expected less .* \(2, 7\)"),
        ((), {"pads": (1, 1)}, "expected a list of 4 integers"),
        (("x",), {}, "input 1 of a node .* is not a weight"),
        (("x", "x"), {}, "input 1 of a node .* is not a weight"),
        (("x", "nothing"), {}, "input 1 of a node .* is not a weight"),
        (("nothing", "w"), {}, "input 0 of a node .* is not the output"),
        (("flat", "w"), {}, r"has a value of shape \(2, 24\)"),
        (("line", "w"), {}, r"has a value of shape \(2, 3, 8\)"),
        (("none", "w"), {}, r"has a value of shape \(0, 3, 8, 9\)"),
        (("x", "row"), {}, "has a value of shape .* and a weight of shape"),
        (("x", "wide"), {}, "does not fit a value of shape"),
        (("x", "w", "short"), {}, "needs one bias for each of its 5 channels"),
        (("x", "w", "matrix"), {}, "needs one bias for each of its 5 channels"),
        (("x", "w", "x"), {}, "input 2 of a node .* is not a weight"),
        (("x", "w", "bias", "bias"), {}, "needs one bias for each of its 5 channels"),
    ],
)
def test_layers_that_do_not_fit_are_refused(operator, inputs, attributes, text):
    with pytest.raises(ShapeError, match=text):
        RULES[operator][0](node(operator, *inputs, **attributes), values(operator))


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes", "text"),
    [
        ("Conv", (), {"output_padding": (0, 0)}, "attribute 'output_padding' that a model does not use"),
        ("Conv", (), {"dilations": (9, 1)}, r"an output of size \(-1, 6\)"),
        ("Conv", (), {"dilations": (8, 1)}, r"an output of size \(0, 6\)"),
        ("ConvTranspose", (), {"output_padding": (1, 0)}, r"output_padding \(1, 0\), expected less than strides"),
        ("ConvTranspose", (), {"output_padding": (0, -1)}, r"output_padding \(0, -1\)"),
        ("ConvTranspose", (), {"output_padding": (0, 3), "strides": (1, 3)}, r"output_padding \(0, 3\)"),
        ("ConvTranspose", (), {"output_padding": 0}, "attribute output_padding .* is 0, expected a list"),
        ("ConvTranspose", (), {"pads": (9, 0, 9, 0), "dilations": (9, 1)}, r"an output of size \(-1, 12\)"),
    ],
)
def test_what_only_one_of_the_two_refuses(operator, inputs, attributes, text):
    with pytest.raises(ShapeError, match=text):
        RULES[operator][0](node(operator, *inputs, **attributes), values(operator))


@pytest.mark.parametrize(
    ("operator", "attributes", "shape", "cost"),
    [
        ("Conv", {}, (2, 5, 7, 6), Cost(3 * 8 * 42, 2 * (3 * 8 * 42 * (5 + 16) + 120 * 16))),
        (
            "Conv",
            {"strides": (2, 3), "pads": (0, 1, 1, 2)},
            (2, 5, 4, 3),
            Cost(3 * 8 * 12, 2 * (3 * 8 * 12 * (5 + 16) + 120 * 16)),
        ),
        ("ConvTranspose", {}, (2, 5, 9, 12), Cost(5 * 8 * 72, 2 * (5 * 8 * 72 * (3 + 16) + 120 * 16))),
        (
            "ConvTranspose",
            {"strides": (2, 2), "pads": (0, 1, 0, 1), "output_padding": (1, 0)},
            (2, 5, 17, 18),
            Cost(5 * 8 * 72, 2 * (5 * 8 * 72 * (3 + 16) + 120 * 16)),
        ),
    ],
)
def test_shapes_and_costs_of_known_layers(operator, attributes, shape, cost):
    layer, known = node(operator, "x", "w", "bias", **attributes), values(operator)
    rule, price = RULES[operator]
    assert rule(layer, known) == [shape]
    assert price(layer, known, [shape]) == cost


@st.composite
def layers(draw):
    """Draw an operator, the shapes of its inputs, and attributes, of which some are absent."""
    operator = draw(st.sampled_from(sorted(RULES)))
    pair = st.tuples(st.integers(1, 4), st.integers(1, 4))
    kernel, channels_in, channels_out = draw(pair), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    value = (draw(st.integers(1, 2)), channels_in, draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    first = (channels_in, channels_out) if operator == "ConvTranspose" else (channels_out, channels_in)
    attributes = {"strides": draw(pair), "dilations": draw(pair), "kernel_shape": kernel, "group": 1}
    extents = [(k - 1) * step + 1 for k, step in zip(kernel, attributes["dilations"], strict=True)]
    attributes["pads"] = tuple(draw(st.integers(0, extent)) for extent in extents * 2)
    if operator == "ConvTranspose":
        attributes["output_padding"] = tuple(draw(st.integers(0, stride)) for stride in attributes["strides"])
    for name in draw(st.sets(st.sampled_from(sorted(attributes)))):
        del attributes[name]
    return operator, value, (*first, *kernel), draw(st.booleans()), attributes


@given(layers())
@settings(max_examples=200, deadline=None)
def test_shapes_are_those_of_onnx_and_onnxruntime(layer):
    operator, value, weight, has_bias, attributes = layer
    channels_out = weight[1] if operator == "ConvTranspose" else weight[0]
    inputs = ["x", "w", "b"] if has_bias else ["x", "w"]
    known = Values({"x": value}, {"w": weight, "b": (channels_out,)}, {})
    try:
        (shape,) = RULES[operator][0](Node(operator, tuple(inputs), ("y",), attributes), known)
    except ShapeError:
        return
    weights = [
        numpy_helper.from_array(np.ones(of, np.float32), name)
        for name, of in {"w": weight, "b": (channels_out,)}.items()
    ]
    graph = helper.make_graph(
        [helper.make_node(operator, inputs, ["y"], **attributes)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, value)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        initializer=weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.shape_inference.infer_shapes(model, strict_mode=True)  # raises if the declared output has another shape
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": np.ones(value, np.float32)})[0].shape == shape
