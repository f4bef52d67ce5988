"""The wire walker against graphs made with the onnx package, and against noise."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from anomaly_vae.bundle.manifest import graph_names
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


def test_graphs_hold_only_standard_operators_and_no_randomness(bundle):
    """An operator such as RandomNormalLike would make scores irreproducible."""
    for name in graph_names(1):
        model = onnx.load_from_string(bundle.files[name])
        assert {node.domain for node in model.graph.node} == {""}
        assert not [node.op_type for node in model.graph.node if "Random" in node.op_type or node.op_type == "Dropout"]
        assert not model.metadata_props
