"""A check of ONNX bytes before onnxruntime parses them, with a short list of what is allowed.

Field numbers are those of onnx.proto. Everything else is refused: functions, training graphs, sparse tensors,
subgraphs, tensors in attributes, external data, foreign operator domains, random operators.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from anomaly_vae.bundle.onnx_nodes import Cost, Node, Shape, ShapeError
from anomaly_vae.bundle.onnx_shapes import value_shapes
from anomaly_vae.density.network import CallSizes
from anomaly_vae.density.tiles import likelihood_call
from anomaly_vae.errors import BundleError
from anomaly_vae.wire import WireError, fields, varint

__all__ = ["OPERATORS", "check_graph"]

OPERATORS = frozenset(
    """
    Add Clip Concat Conv ConvTranspose Div Exp Gemm Log MatMul Mul ReduceMax Reshape Shape Sigmoid Split Squeeze Sub
    Transpose Unsqueeze
    """.split()  # noqa: SIM905
)

# Field numbers and names of onnx.proto that are allowed, by message.
_MODEL = {1: "ir_version", 2: "producer_name", 3: "producer_version", 7: "graph", 8: "opset_import"}
_GRAPH = {1: "node", 2: "name", 5: "initializer", 11: "input", 12: "output"}
_NODE = {1: "input", 2: "output", 3: "name", 4: "op_type", 5: "attribute", 7: "domain"}
_ATTRIBUTE = {1: "name", 2: "f", 3: "i", 4: "s", 7: "floats", 8: "ints", 20: "type"}
_TYPE_FIELDS: dict[int | bytes, int] = {1: 2, 2: 3, 3: 4, 6: 7, 7: 8}  # types of attributes, and where the value is
_TENSOR = {1: "dims", 2: "data_type", 8: "name", 9: "raw_data"}
_OPSET = {1: "domain", 2: "version"}
_INPUT = {1: "name", 2: "type"}
_TYPE = {1: "tensor_type"}
_TENSOR_TYPE = {1: "elem_type", 2: "shape"}
_SHAPE = {1: "dim"}
_DIM = {1: "dim_value", 2: "dim_param"}
_TENSOR_TYPES: dict[int | bytes, np.dtype[Any]] = {1: np.dtype("<f4"), 7: np.dtype("<i8")}
_STANDARD_DOMAINS = (b"", b"ai.onnx")
_OPSET_VERSION = 18
# Most fields of one message, and dimensions of one tensor. Chosen, not measured: far above what training writes.
_MOST_FIELDS = 10_000
_MOST_DIMS = 8

# Characters of a value that an error message shows.
_SHOWN = 40

# onnxruntime reads bytes with this mark as its own format, with another parser, even if they are valid ONNX.
_ORT_MARK = b"ORTM"

# Rows of the largest calls without samples; see anomaly_vae.density.tiles.
_MOST_ROWS = 128

# Parameter vectors that rows are compared with; see anomaly_vae.density.fitting.
_NUM_VECTORS = (64, 256)

# The sizes of a call that the variable dimensions of an input stand for; "rows" where it is not listed.
_DIMENSIONS = {"noise": ("rows", "samples"), "params": ("samples",)}

# Limit of the elements of all values of one call: 2^24 (64 MiB in float32), plus 2^13 per weight. A call has at most
# 2,048 pairs of a row and a sample, and a layer makes a few values of its size.
_LEAST_ELEMENTS, _ELEMENTS_PER_WEIGHT = 2**24, 2**13

# Limit of the multiplications of one call: 2^35, plus 2^14 per weight. Measured with onnxruntime 1.32 on one core: 2^35
# take 1 to 4 s. Without convolutions each of the 2,048 pairs uses a weight once. A decoder with convolutions may take
# 2^24 multiplications a pair, sixteen times as many as one for images of 28 x 28 pixels.
_LEAST_STEPS, _STEPS_PER_WEIGHT = 2**35, 2**14


def check_graph(data: bytes, where: str) -> None:
    """Check that ONNX bytes hold one plain graph of standard operators, with all weights inside and finite.

    Raises:
        BundleError: They do not; the text names the file and what was found.
    """
    try:
        if data[4:8] == _ORT_MARK:
            raise BundleError("it is in onnxruntime's own format, expected ONNX")
        model = _read(data, _MODEL, "model", once={7, 8})
        for number in (7, 8):
            if number not in dict(model):
                raise BundleError(f"it has no {_MODEL[number]}")
        for number, value in model:
            if number == 8:
                _check_opset(_bytes(value))
            elif number == 7:
                _check_graph(_bytes(value))
    except (BundleError, WireError, ShapeError) as error:
        raise BundleError(f"{where}: refused: {error}. Train or copy the model again") from None


def _check_opset(data: bytes) -> None:
    opset = dict(_read(data, _OPSET, "opset", once={1, 2}))
    _check_domain(opset.get(1, b""))
    if opset.get(2) != _OPSET_VERSION:
        raise BundleError(f"operator set {_shown(opset.get(2))}, expected {_OPSET_VERSION}")


def _check_graph(data: bytes) -> None:
    nodes: list[Node] = []
    inputs: dict[str, tuple[int | None, ...]] = {}
    weights: dict[str, Shape] = {}
    integers: dict[str, Shape] = {}
    for number, value in _read(data, _GRAPH, "graph"):
        if number == 1:
            nodes.append(_node(_bytes(value)))
        elif number in (11, 12):
            name, dims = _input(_bytes(value))
            if number == 11:
                _add(inputs, name, dims)
        elif number == 5:
            name, shape, content = _tensor(_bytes(value))
            _add(weights, name, shape)
            if content is not None:
                integers[name] = content
    if inputs.keys() & weights.keys():
        raise BundleError("an input has the name of a weight")
    num_weights = sum(math.prod(shape) for shape in weights.values())
    most = Cost(_LEAST_ELEMENTS + _ELEMENTS_PER_WEIGHT * num_weights, _LEAST_STEPS + _STEPS_PER_WEIGHT * num_weights)
    has_convolutions = any(node.operator in ("Conv", "ConvTranspose") for node in nodes)
    for rows, samples in _calls(inputs, has_convolutions=has_convolutions):
        sizes = {"rows": rows, "samples": samples}
        shapes = {name: _shape_in_call(name, dims, sizes) for name, dims in inputs.items()}
        value_shapes(nodes, shapes, weights, integers, most)


def _calls(inputs: dict[str, tuple[int | None, ...]], *, has_convolutions: bool) -> Iterator[tuple[int, int]]:
    """Yield the rows, and the samples or parameter vectors, of the largest calls of a graph with these inputs."""
    num_params, num_features, latent = (
        max(dims[-1] or 1, 1) if (dims := inputs.get(name)) else None for name in ("params", "x", "z")
    )
    if num_params is not None:
        for num_vectors in _NUM_VECTORS:
            yield likelihood_call(num_vectors, num_params)
        return
    sizes = CallSizes()
    if has_convolutions and num_features is not None:
        sizes = CallSizes.of_convolutions(num_features, latent or 1)
    if "noise" not in inputs:
        yield sizes.posterior_rows if num_features is not None and latent is not None else _MOST_ROWS, 1
        return
    for samples in (16, 128, 2048):
        if samples <= sizes.pairs:
            yield min(sizes.pairs // samples, _MOST_ROWS), samples


def _shape_in_call(name: str, dims: tuple[int | None, ...], sizes: dict[str, int]) -> Shape:
    """Return the shape of an input in a call of these sizes."""
    kinds = itertools.chain(_DIMENSIONS.get(name, ()), itertools.repeat("rows"))
    return tuple(sizes[next(kinds)] if dim is None else dim for dim in dims)


def _node(data: bytes) -> Node:
    node = _read(data, _NODE, "node", once={4, 7})
    values = dict(node)
    _check_domain(values.get(7, b""))
    operator = _bytes(values.get(4, b"")).decode("ascii", "replace")
    if operator not in OPERATORS:
        raise BundleError(f"operator {_shown(operator)} is not one that a model uses")
    inputs, outputs = (tuple(_name(value) for number, value in node if number == wanted) for wanted in (1, 2))
    attributes: dict[str, int | Shape] = {}
    for number, value in node:
        if number == 5:
            _add(attributes, *_attribute(_bytes(value), operator))
    return Node(operator, inputs, outputs, attributes)


def _attribute(data: bytes, operator: str) -> tuple[str, int | Shape]:
    """Return the name of an attribute, and its integer or list of integers; 0 if it is something else.

    onnxruntime takes the value that belongs to the declared type, and a default if there is none.
    """
    content = _read(data, _ATTRIBUTE, f"attribute of {operator}", once={1, 3})
    attribute = dict(content)
    field = _TYPE_FIELDS.get(attribute.get(20, 0))
    if attribute.keys() - {1, 20} != {field}:
        raise BundleError(f"an attribute of {operator} has type {_shown(attribute.get(20))} and not its one value")
    if field == 8:
        found = (size for number, part in content if number == 8 for size in _integers(part))
        return _name(attribute.get(1, b"")), tuple(itertools.islice(found, _MOST_DIMS + 1))
    integer = attribute[3] if field == 3 else 0
    if not isinstance(integer, int):
        raise BundleError("a protobuf field has the wrong type")
    return _name(attribute.get(1, b"")), _signed(integer)


def _input(data: bytes) -> tuple[str, tuple[int | None, ...]]:
    """Return the name and the sizes of an input or output; None for a variable size."""
    info = dict(_read(data, _INPUT, "input", once={1, 2}))
    kind = dict(_read(_bytes(info.get(2, b"")), _TYPE, "type of an input", once={1}))
    tensor = dict(_read(_bytes(kind.get(1, b"")), _TENSOR_TYPE, "type of an input", once={1, 2}))
    dims: list[int | None] = []
    for _, dim in _read(_bytes(tensor.get(2, b"")), _SHAPE, "shape of an input"):
        size = dict(_read(_bytes(dim), _DIM, "shape of an input", once={1, 2})).get(1)
        if len(dims) == _MOST_DIMS or not (size is None or (isinstance(size, int) and size < 2**31)):
            raise BundleError(f"an input has a dimension of size {_shown(size)}")
        dims.append(size)
    return _name(info.get(1, b"")), tuple(dims)


def _tensor(data: bytes) -> tuple[str, Shape, Shape | None]:
    """Return the name and shape of a weight, and its content if it is a list of integers."""
    tensor = _read(data, _TENSOR, "tensor", once={2, 8, 9})
    values = dict(tensor)
    dtype = _TENSOR_TYPES.get(values.get(2, 0))
    if dtype is None:
        raise BundleError(f"a tensor has data type {_shown(values.get(2))}, expected float (1) or int64 (7)")
    found = (dim for number, value in tensor if number == 1 for dim in _integers(value))
    dims = list(itertools.islice(found, _MOST_DIMS + 1))
    raw = _bytes(values.get(9, b""))
    if len(dims) > _MOST_DIMS or any(not 0 <= dim < 2**31 for dim in dims):
        raise BundleError(f"a tensor has shape {dims[:_MOST_DIMS]}")
    if math.prod(dims) * dtype.itemsize != len(raw):
        raise BundleError(f"a tensor of shape {dims} has {len(raw)} bytes")
    array = np.frombuffer(raw, dtype)
    if not np.isfinite(array).all():
        raise BundleError("a weight is NaN or infinite")
    listed = array.dtype.kind == "i" and len(dims) == 1
    if listed and len(array) > _MOST_FIELDS:
        raise BundleError(f"a list of {len(array)} integers")
    return _name(values.get(8, b"")), tuple(dims), tuple(array.tolist()) if listed else None


def _check_domain(domain: int | bytes) -> None:
    if domain not in _STANDARD_DOMAINS:
        raise BundleError(f"operator domain {_shown(domain)} is not the standard one")


def _read(data: bytes, known: dict[int, str], what: str, once: set[int] | None = None) -> list[tuple[int, int | bytes]]:
    found = list(itertools.islice(fields(data), _MOST_FIELDS + 1))
    if len(found) > _MOST_FIELDS:
        raise BundleError(f"the {what} has over {_MOST_FIELDS} fields")
    for number, count in Counter(number for number, _ in found).items():
        if number not in known:
            raise BundleError(f"field {number} of the {what} is not one that a model uses")
        if once and number in once and count > 1:
            raise BundleError(f"{known[number]} appears {count} times in the {what}")
    return found


def _integers(value: int | bytes) -> Iterator[int]:
    """Yield one integer, or the integers of a packed field."""
    if isinstance(value, int):
        yield _signed(value)
        return
    position = 0
    while position < len(value):
        number, position = varint(value, position)
        yield _signed(number)


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise BundleError("a protobuf field has the wrong type")
    return value


def _name(value: int | bytes) -> str:
    return _bytes(value).decode("utf-8", "surrogateescape")


def _add(found: dict[str, Any], name: str, value: Any) -> None:
    if name in found:
        raise BundleError(f"the name {_shown(name)} is given twice")
    found[name] = value


def _shown(value: object) -> str:
    """Return a value for an error message, cut to a short length."""
    text = repr(value[:_SHOWN] if isinstance(value, (str, bytes)) else value)
    return text if len(text) <= 4 * _SHOWN else f"{text[: 4 * _SHOWN]}..."
