"""The wire walker against graphs made with the onnx package, and against noise."""

from __future__ import annotations

import math

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.capi import onnxruntime_pybind11_state

from anomaly_vae.bundle import onnx_wire
from anomaly_vae.bundle.manifest import graph_names
from anomaly_vae.bundle.onnx_shapes import value_shapes
from anomaly_vae.bundle.onnx_wire import check_graph
from anomaly_vae.errors import BundleError


def model(nodes=None, weights=(), domain="", **graph_fields):
    """Return a small graph; by default y = sigmoid(x)."""
    nodes = nodes or [helper.make_node("Sigmoid", ["x"], ["y"])]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2]) for name in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y], initializer=list(weights), **graph_fields)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid(domain, 18)])


def tensor(values, name="w"):
    return numpy_helper.from_array(np.asarray(values, np.float32), name)


def external():
    outside = tensor([1.0, 2.0])
    outside.ClearField("raw_data")
    outside.data_location = TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="../../etc/passwd")
    return model(weights=[outside])


def with_function():
    m = model()
    m.functions.append(helper.make_function("own", "f", ["a"], ["b"], [helper.make_node("Sigmoid", ["a"], ["b"])], []))
    return m


def subgraph():
    body = helper.make_graph([], "b", [], [])
    return model([helper.make_node("If", ["x"], ["y"], then_branch=body, else_branch=body)])


def typed_data():
    inline = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], float_data=[1.0])
    return model(weights=[inline])


def wrong_size():
    short = tensor([1.0, 2.0])
    short.dims[0] = 3
    return model(weights=[short])


def negative_dims():
    odd = tensor([1.0])
    odd.dims[:] = [-1, -1]
    return model(weights=[odd])


def many_dims():
    odd = tensor([1.0])
    odd.dims[:] = [1] * 100
    return model(weights=[odd])


def sparse():
    values, indices = tensor([1.0]), numpy_helper.from_array(np.array([0]), "i")
    return model(sparse_initializer=[helper.make_sparse_tensor(values, indices, [2])])


def conv_graph(strides=(2, 2)):
    """Return y (N, 2) from x (N, 2): a transposed convolution to 4 x 6 pixels, and a convolution back."""
    weights = [
        numpy_helper.from_array(np.array(shape), name)
        for name, shape in {"plane": [-1, 1, 1, 2], "row": [-1, 2]}.items()
    ]
    weights += [tensor(np.ones((1, 3, 4, 4)), "up"), tensor(np.ones(3), "bias"), tensor(np.ones((1, 3, 4, 5)), "down")]
    nodes = [
        helper.make_node("Reshape", ["x", "plane"], ["a"]),
        helper.make_node("ConvTranspose", ["a", "up", "bias"], ["b"], strides=list(strides)),
        helper.make_node("Sigmoid", ["b"], ["c"]),
        helper.make_node("Conv", ["c", "down"], ["d"]),
        helper.make_node("Reshape", ["d", "row"], ["y"]),
    ]
    return model(nodes, weights)


def attribute(*, kind, **fields):
    """Return a graph with strides of another kind."""
    changed = conv_graph()
    strides = changed.graph.node[1].attribute[0]
    for name in ("ints", "type"):
        strides.ClearField(name)
    for name, value in fields.items():
        getattr(strides, name).extend(value) if isinstance(value, list) else setattr(strides, name, value)
    if kind is not None:
        strides.type = kind
    return changed


def slow_matrices():
    """Multiply 256 columns with one matrix again and again."""
    weights = [tensor(np.ones((2, 256)), "out"), tensor(np.zeros((256, 256)), "square")]
    nodes = [helper.make_node("MatMul", ["x", "out"], ["h0"])]
    nodes += [helper.make_node("MatMul", [f"h{i}", "square"], [f"h{i + 1}"]) for i in range(4500)]
    return model(nodes, weights)


def slow_vectors():
    """Multiply one row with a matrix again and again: each time the matrix is read."""
    weights = [tensor(np.zeros((1, 2048)), "row"), tensor(np.zeros((2048, 2048)), "square")]
    nodes = [helper.make_node("MatMul", ["row" if not i else f"h{i}", "square"], [f"h{i + 1}"]) for i in range(2000)]
    return model(nodes, weights)


ORT_ERRORS = [
    each for each in vars(onnxruntime_pybind11_state).values() if isinstance(each, type) and issubclass(each, Exception)
]
CONVOLUTIONS = conv_graph().SerializeToString()


def test_a_graph_of_convolutions_passes():
    check_graph(conv_graph().SerializeToString(), "x.onnx")


def of_samples(nodes, weights, latent):
    """Return a graph that takes samples of latents, as log_joint does, and makes y of shape (pairs, 1)."""
    weights = [*weights, numpy_helper.from_array(np.array([-1, latent]), "flat"), tensor(np.zeros((latent, 1)), "last")]
    nodes = [
        helper.make_node("Reshape", ["noise", "flat"], ["z"]),
        *nodes,
        helper.make_node("MatMul", ["z", "last"], ["y"]),
    ]
    noise = helper.make_tensor_value_info("noise", TensorProto.FLOAT, ["N", "S", latent])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["NS", 1])
    graph = helper.make_graph(nodes, "g", [noise], [y], initializer=weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]).SerializeToString()


def test_a_decoder_of_images_in_colour_passes():
    """64 x 64 pixels, from 16 latents: 6 million multiplications for each of 2,048 pairs."""
    shape = numpy_helper.from_array(np.array([-1, 64, 8, 8]), "shape")
    weights = [tensor(np.zeros((16, 4096)), "first"), shape]
    nodes = [helper.make_node("MatMul", ["z", "first"], ["h"]), helper.make_node("Reshape", ["h", "shape"], ["v0"])]
    for i, (before, after) in enumerate([(64, 32), (32, 16), (16, 6)]):
        weights.append(tensor(np.zeros((before, after, 4, 4)), f"w{i}"))
        sizes = {"strides": [2, 2], "pads": [1, 1, 1, 1]}
        nodes.append(helper.make_node("ConvTranspose", [f"v{i}", f"w{i}"], [f"a{i}"], **sizes))
        nodes.append(helper.make_node("Sigmoid", [f"a{i}"], [f"s{i}"]))
        nodes.append(helper.make_node("Mul", [f"a{i}", f"s{i}"], [f"v{i + 1}"]))
    check_graph(of_samples(nodes, weights, latent=16), "x.onnx")


def test_more_weights_may_take_more_time():
    """2^24 weights, used twice for 2,048 pairs."""
    nodes = [helper.make_node("MatMul", [f"h{i}" if i else "z", "w"], [f"h{i + 1}"]) for i in range(2)]
    check_graph(of_samples(nodes, [tensor(np.zeros((4096, 4096), np.float32))], latent=4096), "x.onnx")


def test_a_plain_graph_passes():
    check_graph(model(weights=[tensor([[1.0, -2.0]])]).SerializeToString(), "x.onnx")


@pytest.mark.parametrize(
    ("hostile", "message"),
    [
        (external(), "field 1[34] of the tensor"),
        (with_function(), "field 25 of the model"),
        (subgraph(), "operator 'If'"),
        (typed_data(), "field 4 of the tensor"),
        (wrong_size(), r"shape \[3\] has 8 bytes"),
        (negative_dims(), r"has shape \[-1, -1\]"),
        (many_dims(), r"has shape \[1, 1, 1, 1, 1, 1, 1, 1\]"),
        (model([helper.make_node("Sigmoid", ["x"], ["y"])] * 10_001), "over 10000 fields"),
        (model(weights=[tensor([np.nan])]), "NaN or infinite"),
        (model(weights=[tensor([np.inf])]), "NaN or infinite"),
        (model(weights=[numpy_helper.from_array(np.array(["a"], object), "w")]), "tensor"),
        (model(weights=[numpy_helper.from_array(np.zeros(1), "w")]), "data type 11"),
        (model([helper.make_node("RandomNormalLike", ["x"], ["y"])]), "operator 'RandomNormalLike'"),
        (model([helper.make_node("Sigmoid", ["x"], ["y"], domain="com.microsoft")]), "domain b'com.microsoft'"),
        (model([helper.make_node("Constant", [], ["y"], value=tensor([1.0]))]), "operator 'Constant'"),
        (model([helper.make_node("Sigmoid", ["x"], ["y"], weights=tensor([1.0]))]), "field 5 of the attribute"),
        (model(domain="com.evil"), "operator domain b'com.evil'"),
        (conv_graph(strides=(2, 17)), "expected 1 to 16"),
        (attribute(kind=None, ints=[2, 2]), "an attribute of ConvTranspose has type None"),
        (attribute(kind=7), "an attribute of ConvTranspose has type 7 and not its one value"),
        (attribute(kind=2, ints=[2, 2]), "an attribute of ConvTranspose has type 2 and not its one value"),
        (attribute(kind=7, i=2), "an attribute of ConvTranspose has type 7 and not its one value"),
        (attribute(kind=7, ints=[2, 2], i=2), "an attribute of ConvTranspose has type 7 and not its one value"),
        (attribute(kind=3, s=b"2"), "attribute strides of a node ConvTranspose is 0, expected a list"),
        (attribute(kind=7, ints=[2] * 10**3), "expected a list of 2 integers"),
        (attribute(kind=7, ints=[2] * 10**5), "over 10000 fields"),
        (attribute(kind=7, ints=[2, 2**62]), "expected 1 to 16"),
        (slow_matrices(), "its nodes need more than"),
        (slow_vectors(), "its nodes need more than"),
        (sparse(), "field 15 of the graph"),
    ],
)  # fmt: skip
def test_what_a_model_does_not_need_is_refused(hostile, message):
    with pytest.raises(BundleError, match=rf"x\.onnx: refused: .*{message}"):
        check_graph(hostile.SerializeToString(), "x.onnx")


def test_fields_given_twice_are_refused():
    """Protobuf parsers merge a repeated message: a second graph would be added to the first one unchecked."""
    data = model().SerializeToString()
    with pytest.raises(BundleError, match="graph appears 2 times"):
        check_graph(data + data, "x.onnx")


@given(st.binary(max_size=200))
def test_noise_is_refused(data):
    with pytest.raises(BundleError, match=r"x\.onnx: refused"):
        check_graph(data, "x.onnx")


@given(st.data())
def test_a_truncated_graph_is_refused(data):
    whole = model(weights=[tensor([[1.0, -2.0]])]).SerializeToString()
    cut = data.draw(st.integers(0, len(whole) - 1))
    try:
        check_graph(whole[:cut], "x.onnx")
    except BundleError:
        return
    onnx.checker.check_model(onnx.load_from_string(whole[:cut]))  # a cut between fields may leave a valid graph


def checked_shapes(data):
    """Check a graph; return the shapes of its values in the first call that is checked."""
    found = []

    def record(*arguments):
        found.append(value_shapes(*arguments))
        return found[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_wire, "value_shapes", record)
        check_graph(data, "x.onnx")
    return found[0]


def outputs_of(data, shapes):
    """Return the outputs of a graph by name, for inputs of these shapes; nothing if onnxruntime refuses it."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"], enable_fallback=0)
        names = [output.name for output in session.get_outputs()]
        feed = {given.name: np.ones(shapes[given.name], np.float32) for given in session.get_inputs()}
        return dict(zip(names, session.run(None, feed), strict=True))
    except (*ORT_ERRORS, KeyError, ValueError):
        return {}


def test_the_shapes_of_convolutions_are_those_that_were_checked():
    shapes = checked_shapes(CONVOLUTIONS)
    assert (shapes["b"], shapes["d"], shapes["y"]) == ((128, 3, 4, 6), (128, 1, 1, 2), (128, 2))
    assert outputs_of(CONVOLUTIONS, shapes)["y"].shape == (128, 2)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_changed_bytes_of_convolutions_are_refused_or_give_the_shapes_that_were_checked(data):
    changed = bytearray(CONVOLUTIONS)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        shapes = checked_shapes(bytes(changed))
    except BundleError:
        return
    if math.prod(shapes.get("x", ())) < 10**6:  # an input may claim any size
        for name, values in outputs_of(bytes(changed), shapes).items():
            assert values.shape == shapes[name]


def test_graphs_hold_only_standard_operators_and_no_randomness(bundle):
    """An operator such as RandomNormalLike would make scores irreproducible."""
    for name in graph_names(1):
        model = onnx.load_from_string(bundle.files[name])
        assert {node.domain for node in model.graph.node} == {""}
        assert not [node.op_type for node in model.graph.node if "Random" in node.op_type or node.op_type == "Dropout"]
        assert not model.metadata_props
