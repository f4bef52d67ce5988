"""A look inside ONNX bytes before any parser of theirs runs, with a short list of what may be.

Field numbers are those of onnx.proto. What is not listed is refused: functions, training graphs, sparse tensors,
subgraphs, tensors in attributes, external data, foreign operator domains, random operators.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Any

import numpy as np

from anomaly_vae.errors import BundleError
from anomaly_vae.wire import WireError, fields, varint

__all__ = ["OPERATORS", "check_graph"]

OPERATORS = frozenset(
    """
    Add Clip Concat Div Exp Gemm Log MatMul Mul ReduceSum Reshape Shape Sigmoid Softplus Split Squeeze Sub Unsqueeze
    """.split()  # noqa: SIM905
)

_MODEL = {1: "ir_version", 2: "producer_name", 3: "producer_version", 7: "graph", 8: "opset_import"}
_GRAPH = {1: "node", 2: "name", 5: "initializer", 11: "input", 12: "output"}
_NODE = {1: "input", 2: "output", 3: "name", 4: "op_type", 5: "attribute", 7: "domain"}
_ATTRIBUTE = {1: "name", 2: "f", 3: "i", 4: "s", 7: "floats", 8: "ints", 20: "type"}
_TENSOR = {1: "dims", 2: "data_type", 8: "name", 9: "raw_data"}
_OPSET = {1: "domain", 2: "version"}
_TENSOR_TYPES: dict[int | bytes, np.dtype[Any]] = {1: np.dtype("<f4"), 7: np.dtype("<i8")}
_STANDARD_DOMAINS = (b"", b"ai.onnx")
_MOST_FIELDS = 10_000
_MOST_DIMS = 8


def check_graph(data: bytes, where: str) -> None:
    """Check that ONNX bytes hold one plain graph of standard operators with its finite weights inside.

    Raises:
        BundleError: Anything else; the text names the file and what was found.
    """
    try:
        model = _read(data, _MODEL, "model", once={7})
        for number in (7, 8):
            if number not in dict(model):
                raise BundleError(f"it has no {_MODEL[number]}")
        for number, value in model:
            if number == 8:
                _check_domain(dict(_read(_bytes(value), _OPSET, "opset")).get(1, b""))
            elif number == 7:
                _check_graph(_bytes(value))
    except (BundleError, WireError) as error:
        raise BundleError(f"{where}: refused: {error}. Train or copy the model again") from None


def _check_graph(data: bytes) -> None:
    for number, value in _read(data, _GRAPH, "graph"):
        if number == 1:
            _check_node(_bytes(value))
        elif number == 5:
            _check_tensor(_bytes(value))


def _check_node(data: bytes) -> None:
    node = _read(data, _NODE, "node", once={4, 7})
    values = dict(node)
    _check_domain(values.get(7, b""))
    operator = _bytes(values.get(4, b"")).decode("ascii", "replace")
    if operator not in OPERATORS:
        raise BundleError(f"operator {operator!r} is not among those a model uses")
    for number, value in node:
        if number == 5:
            _read(_bytes(value), _ATTRIBUTE, f"attribute of {operator}")


def _check_tensor(data: bytes) -> None:
    tensor = _read(data, _TENSOR, "tensor", once={2, 8, 9})
    values = dict(tensor)
    dtype = _TENSOR_TYPES.get(values.get(2, 0))
    if dtype is None:
        raise BundleError(f"a tensor has data type {values.get(2)!r}, expected float (1) or int64 (7)")
    dims = [dim for number, value in tensor if number == 1 for dim in _integers(value)]
    raw = _bytes(values.get(9, b""))
    if len(dims) > _MOST_DIMS or any(not 0 <= dim < 2**31 for dim in dims):
        raise BundleError(f"a tensor has shape {dims[:_MOST_DIMS]}")
    if math.prod(dims) * dtype.itemsize != len(raw):
        raise BundleError(f"a tensor of shape {dims} has {len(raw)} bytes")
    if not np.isfinite(np.frombuffer(raw, dtype)).all():
        raise BundleError("a weight is NaN or infinite")


def _check_domain(domain: int | bytes) -> None:
    if domain not in _STANDARD_DOMAINS:
        raise BundleError(f"operator domain {domain!r} is not the standard one")


def _read(data: bytes, known: dict[int, str], what: str, once: set[int] | None = None) -> list[tuple[int, int | bytes]]:
    found = list(itertools.islice(fields(data), _MOST_FIELDS + 1))
    if len(found) > _MOST_FIELDS:
        raise BundleError(f"the {what} has over {_MOST_FIELDS} fields")
    for number, count in Counter(number for number, _ in found).items():
        if number not in known:
            raise BundleError(f"field {number} of the {what} is not among those a model uses")
        if once and number in once and count > 1:
            raise BundleError(f"{known[number]} stands {count} times in the {what}")
    return found


def _integers(value: int | bytes) -> list[int]:
    """One integer, or the integers of a packed field."""
    if isinstance(value, int):
        return [_signed(value)]
    numbers, position = [], 0
    while position < len(value):
        number, position = varint(value, position)
        numbers.append(_signed(number))
    return numbers


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise BundleError("a protobuf field has the wrong type")
    return value
