"""Attacks on a bundle through its graphs, built with the onnx package from a real one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from google.protobuf.internal import encoder
from onnx import TensorProto, helper, numpy_helper

from tests.support.attacks import CHECKPOINT, PICKLE, seal


def graph(change, name="decoder.onnx"):
    """Return an attack that changes a real graph with the onnx package."""

    def changed(data):
        model = onnx.load_from_string(data)
        change(model)
        return model.SerializeToString()

    return seal(name, changed)


def outside(tensor=None):
    """Return a tensor whose numbers are in another file."""
    tensor = tensor or numpy_helper.from_array(np.ones(4, np.float32), "evil")
    for field in ("raw_data", "float_data"):
        tensor.ClearField(field)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")
    return tensor


def node(*arguments, **attributes):
    return lambda model: model.graph.node.insert(0, helper.make_node(*arguments, **attributes))


def body(*nodes, weights=()):
    value = helper.make_tensor_value_info("b", TensorProto.FLOAT, [4])
    return helper.make_graph(list(nodes), "body", [], [value], initializer=list(weights))


CONSTANT = helper.make_node("Constant", [], ["b"], value=outside())
HIDDEN = body(CONSTANT)


def sparse():
    indices = numpy_helper.from_array(np.array([0]), "i")
    return helper.make_sparse_tensor(outside(), indices, [4])


def with_function(model):
    inner = [helper.make_node("Constant", [], ["b"], value=outside())]
    model.functions.append(helper.make_function("own", "Gemm", ["a"], ["b"], inner, []))


def in_weight(place, value):
    def change(model):
        weight = next(w for w in model.graph.initializer if w.data_type == TensorProto.FLOAT)
        array = numpy_helper.to_array(weight).copy()
        array.flat[place] = value
        weight.CopyFrom(numpy_helper.from_array(array, weight.name))

    return change


def weights(**arrays):
    return [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]


def bomb(*nodes, **arrays):
    """Add nodes that the output does not need, and their weights."""

    def change(model):
        model.graph.initializer.extend(weights(**arrays))
        for arguments in nodes:
            attributes = {"axis": 0} if arguments[0] == "Concat" else {}
            model.graph.node.append(helper.make_node(arguments[0], *arguments[1:], **attributes))

    return change


def images(model, *nodes, pixels=28, **arrays):
    """Add a constant image of one channel, and nodes that take it."""
    bomb(*nodes, image=np.ones((1, 1, pixels, pixels), np.float32), **arrays)(model)


def layer(operator="Conv", **attributes):
    """Add a convolution of an image with a kernel of 3 x 3 pixels."""

    def change(model):
        images(model, kernel=np.ones((1, 1, 3, 3), np.float32))
        model.graph.node.append(helper.make_node(operator, ["image", "kernel"], ["b"], **attributes))

    return change


def layers(operator, times):
    """Add many convolutions of an image, whose values are few."""

    def change(model):
        outputs = [(operator, ["image", "kernel"], [f"b{i}"]) for i in range(times)]
        images(model, *outputs, pixels=64, kernel=np.ones((1, 1, 60, 60), np.float32))

    return change


def stretched(model):
    """Repeat an image in strides: 16 times as high and wide with each layer."""
    images(model, kernel=np.ones((1, 1, 1, 1), np.float32))
    for i in range(4):
        names = ["image" if not i else f"s{i}", "kernel"]
        model.graph.node.append(helper.make_node("ConvTranspose", names, [f"s{i + 1}"], strides=[16, 16]))


def of_data(model):
    """Take a value as the kernel."""
    images(model)
    model.graph.node.append(helper.make_node("Conv", ["image", "image2"], ["b"]))
    model.graph.node.insert(0, helper.make_node("Exp", ["image"], ["image2"]))


def doubled(times):
    return [("Concat", [f"d{i}", f"d{i}"], [f"d{i + 1}"]) for i in range(times)]


def ort_format(data):
    """Return the same network in onnxruntime's own format, which has its own parser."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = "decoder.ort"
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return Path("decoder.ort").read_bytes()


def two_formats(data):
    """Return a valid ONNX model with the mark by which onnxruntime recognises its own format."""
    model = onnx.load_from_string(data)
    model.ClearField("producer_name")
    return b"\x12\x06\0\0ORTM" + model.SerializeToString()


def flood_of_dims(data):
    """Return a tensor with two million dimensions of one byte; as Python integers they would take 40 bytes each."""
    dims = field(1, b"\1" * 2**21)
    return field(7, field(5, dims + b"\x10\1")) + field(
        8, onnx.load_from_string(data).opset_import[0].SerializeToString()
    )


def field(number, value):
    return encoder.TagBytes(number, 2) + encoder._VarintBytes(len(value)) + value


def renamed_output(model):
    model.graph.output[0].name = model.graph.node[-1].output[0] = "parameters"


def lying_output(model):
    """Give the last value another shape than the graph declares."""
    model.graph.node[-1].output[0] = "wide"
    model.graph.initializer.extend(weights(two=[-1, 2]))
    model.graph.node.append(helper.make_node("Reshape", ["wide", "two"], ["params"]))


REFUSED = r"decoder\.onnx: refused: .*"
GRAPHS = {
    "external initialiser": (lambda m: outside(m.graph.initializer[0]), "field 1[34] of the tensor"),
    "external sparse initialiser": (lambda m: m.graph.sparse_initializer.append(sparse()), "field 15 of the graph"),
    "external Constant": (lambda m: m.graph.node.insert(0, CONSTANT), "operator 'Constant'"),
    "sparse Constant": (node("Constant", [], ["b"], sparse_value=sparse()), "operator 'Constant'"),
    "external tensor in an attribute": (node("Log", ["z"], ["b"], t=outside()), "field 5 of the attribute"),
    "external tensors in an attribute": (node("Log", ["z"], ["b"], t=[outside()]), "field 10 of the attribute"),
    "external in If": (node("If", ["z"], ["b"], then_branch=HIDDEN, else_branch=HIDDEN), "operator 'If'"),
    "external in Loop": (node("Loop", ["", "", "z"], ["b"], body=HIDDEN), "operator 'Loop'"),
    "external in Scan": (node("Scan", ["z"], ["b"], body=HIDDEN, num_scan_inputs=1), "operator 'Scan'"),
    "a graph in an attribute": (node("Log", ["z"], ["b"], g=HIDDEN), "field 6 of the attribute"),
    "graphs in an attribute": (node("Log", ["z"], ["b"], g=[HIDDEN]), "field 11 of the attribute"),
    "a function of its own": (with_function, "field 25 of the model"),
    "training graphs": (lambda m: m.training_info.add(), "field 20 of the model"),
    "options for onnxruntime": (lambda m: m.metadata_props.add(key="ort_config", value="{}"), "field 14"),
    "an operator of a library": (node("Evil", ["z"], ["b"], domain="com.evil"), "domain b'com.evil'"),
    "Python as an operator": (node("PyOp", ["z"], ["b"], domain="ai.onnx.contrib"), "domain b'ai.onnx.contrib'"),
    "a foreign domain": (lambda m: setattr(m.opset_import[0], "domain", "com.microsoft"), "domain b'com.microsoft'"),
    "two operator sets": (lambda m: m.opset_import.add(domain="ai.onnx", version=18), "appears 2 times"),
    "another operator set": (lambda m: setattr(m.opset_import[0], "version", 2**40), "operator set 1099511627776"),
    "NaN": (in_weight(0, np.nan), "NaN or infinite"),
    "infinity at the end": (in_weight(-1, -np.inf), "NaN or infinite"),
    "text": (lambda m: m.graph.initializer.append(helper.make_tensor("s", TensorProto.STRING, [1], [b"x"])), "tensor"),
    "float64": (lambda m: m.graph.initializer.extend(weights(w=np.ones(2))), "data type 11"),
    "a huge tensor": (lambda m: m.graph.initializer[0].dims.__setitem__(0, 2**30), r"shape \[1073741824"),
    "a column times a row": (
        bomb(("MatMul", ["col", "row"], ["big"]), col=np.ones((10**5, 1), np.float32),
             row=np.ones((1, 10**5), np.float32)), "its values need more than"),
    "a column plus a row": (
        bomb(("Add", ["col", "row"], ["big"]), col=np.ones((10**5, 1), np.float32), row=np.ones(10**5, np.float32)),
        "its values need more than"),
    "doubled again and again": (bomb(*doubled(60), d0=np.ones(2, np.float32)), "its values need more than"),
    "a shape doubled again and again": (bomb(*doubled(60), d0=np.ones(2, np.int64)), "its values need more than"),
    "a shape made of data": (bomb(("Mul", ["two", "two"], ["s"]), ("Reshape", ["z", "s"], ["b"]), two=[2, 2]),
                             "not known before it runs"),
    "an automatic padding": (layer(auto_pad="SAME_UPPER"), "attribute 'auto_pad' that a model does not use"),
    "a given size": (layer("ConvTranspose", output_shape=[99, 99]), "attribute 'output_shape' that a model does not"),
    "groups": (layer(group=2), "of 2 groups"),
    "strides as text": (layer(strides="1"), "attribute strides of a node Conv is 0, expected a list"),
    "huge strides": (layer("ConvTranspose", strides=[2**40, 1]), "expected 1 to 16"),
    "huge dilations": (layer(dilations=[1, 2**62]), "expected 1 to 16"),
    "huge padding": (layer(pads=[2**62] * 4), "expected less than the kernel's extents"),
    "negative padding": (layer("ConvTranspose", pads=[-(2**62)] * 4), "expected less than the kernel's extents"),
    "huge output padding": (layer("ConvTranspose", output_padding=[2**31, 0]), "expected less than strides"),
    "a kernel of another size": (layer(kernel_shape=[5, 5]), "kernel_shape"),
    "a kernel of data": (of_data, "input 1 of a node Conv is not a weight"),
    "an image stretched again and again": (stretched, "its values need more than"),
    "many large kernels": (layers("ConvTranspose", 200), "its nodes need more than"),
    "nodes out of order": (node("Log", ["params"], ["b"]), "not the output of an earlier node"),
    "a name twice": (bomb(("Log", ["z"], ["params"])), "given twice"),
    "a weight twice": (lambda m: m.graph.initializer.append(m.graph.initializer[0]), "given twice"),
    "ten thousand nodes": (lambda m: m.graph.node.extend([m.graph.node[0]] * 10**4), "over 10000 fields"),
    "a long name": (node("x" * 10**6, ["z"], ["b"]), "operator 'xxx"),
}  # fmt: skip
GRAPH_ATTACKS = {f"graph: {k}": (graph(change), REFUSED + text) for k, (change, text) in GRAPHS.items()}
GRAPH_ATTACKS |= {
    "graph: the encoder's": (lambda f: seal("decoder.onnx", (f / "encoder.onnx").read_bytes())(f), "inputs or outputs"),
    "graph: another name": (graph(renamed_output), r"decoder\.onnx: has inputs or outputs"),
    "graph: another type": (
        graph(lambda m: setattr(m.graph.output[0].type.tensor_type, "elem_type", 7)), r"decoder\.onnx: onnxruntime"
    ),
    "graph: another output": (graph(lambda m: m.graph.output.append(m.graph.input[0])), r"decoder\.onnx: "),
    "graph: a shape that lies": (graph(lying_output), r"decoder\.onnx: "),
    "graph: a million dimensions": (seal("decoder.onnx", flood_of_dims), REFUSED + "a tensor has shape"),
    "graph: onnxruntime's own format": (seal("decoder.onnx", ort_format), REFUSED + "it is in onnxruntime's own"),
    "graph: two formats": (seal("decoder.onnx", two_formats), REFUSED + "it is in onnxruntime's own format"),
    "graph: a pickle": (seal("decoder.onnx", PICKLE), REFUSED),
    "graph: a torch checkpoint": (seal("decoder.onnx", CHECKPOINT), REFUSED),
    "graph: nothing": (seal("decoder.onnx", b""), REFUSED),
}  # fmt: skip
