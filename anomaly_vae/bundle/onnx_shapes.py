"""The shapes of a graph's values, computed from the shapes of inputs and weights before the graph runs.

A few nodes can take any amount of memory: a column times a row, or a value concatenated with itself many times. Such a
graph is valid, and onnxruntime computes its constant parts when it loads the graph. The rules are those of operator set
18, for the operators that models use: https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

__all__ = ["Node", "Shape", "ShapeError", "value_shapes"]

Shape = tuple[int, ...]

# Contents are followed only for lists of at most 1,024 integers. Chosen, not measured: shapes, sizes and axes are far
# shorter.
_MOST_INTEGERS = 1024

# Most dimensions of a value. Chosen, not measured: a model's graphs have 3.
_MOST_DIMS = 8


class ShapeError(ValueError):
    """The shapes of a graph do not fit together, or are not known before it runs."""


class Node(NamedTuple):
    """One operation.

    Attributes:
        operator: The name of the operator.
        inputs, outputs: Names of values; an omitted optional input has the name "".
        attributes: The attributes with integer values, or lists of integers.
    """

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, int | Shape]

    def integer(self, name: str, default: int) -> int:
        """Return an attribute that is one integer."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            raise ShapeError(f"attribute {name} of a node {self.operator} is a list")
        return value


class _Values:
    """Shapes of the values so far, and the contents of those that hold shapes, sizes or axes."""

    def __init__(self, shapes: Mapping[str, Shape], integers: Mapping[str, Shape]) -> None:
        self.shapes, self.integers = dict(shapes), dict(integers)

    def of(self, node: Node, i: int = 0) -> Shape:
        """Return the shape of a node's input."""
        if i >= len(node.inputs) or node.inputs[i] not in self.shapes:
            raise ShapeError(f"input {i} of a node {node.operator} is not the output of an earlier node")
        return self.shapes[node.inputs[i]]

    def content(self, node: Node, i: int) -> Shape:
        """Return the integers in a node's input."""
        self.of(node, i)
        if node.inputs[i] not in self.integers:
            raise ShapeError(f"input {i} of a node {node.operator} is not known before it runs")
        return self.integers[node.inputs[i]]


def value_shapes(
    nodes: Iterable[Node], shapes: Mapping[str, Shape], integers: Mapping[str, Shape], most: int
) -> dict[str, Shape]:
    """Return the shapes of all values, by name.

    Args:
        nodes: The nodes, in order.
        shapes: Shapes of inputs and weights, by name.
        integers: Contents of the weights that are lists of integers, by name.
        most: Limit of the elements of all values together.

    Raises:
        ShapeError: The values have more elements, or the shapes do not fit together.
    """
    values, total = _Values(shapes, integers), 0
    for node in nodes:
        made = _RULES[node.operator](node, values)
        if len(made) != len(node.outputs):
            raise ShapeError(f"a node {node.operator} has {len(node.outputs)} outputs, expected {len(made)}")
        for name, shape in zip(node.outputs, made, strict=True):
            total += math.prod(shape)
            if total > most or len(shape) > _MOST_DIMS:
                raise ShapeError(f"its values need more than {most} elements")
            if name in values.shapes:
                raise ShapeError(f"the name {name[:40]!r} is given twice")
            content = _integers(node, values) if shape <= (_MOST_INTEGERS,) else None
            values.shapes[name] = shape
            if content is not None:
                values.integers[name] = content
    return values.shapes


def _integers(node: Node, values: _Values) -> Shape | None:
    """Return the content of a value that is a shape, or a concatenation of shapes and constants."""
    if node.operator == "Shape":
        shape = values.of(node)
        return shape[node.integer("start", 0) : node.integer("end", len(shape))]
    if node.operator == "Concat" and all(name in values.integers for name in node.inputs):
        return tuple(itertools.chain.from_iterable(values.integers[name] for name in node.inputs))
    return None


def _same(node: Node, values: _Values) -> list[Shape]:
    return [values.of(node)]


def _broadcast(node: Node, values: _Values) -> list[Shape]:
    return [_broadcast_shape(values.of(node), values.of(node, 1))]


def _broadcast_shape(a: Shape, b: Shape) -> Shape:
    """Return the shape of the result of an operation by element."""
    pairs = itertools.zip_longest(reversed(a), reversed(b), fillvalue=1)
    found = []
    for n, m in pairs:
        if n != m and 1 not in (n, m):
            raise ShapeError(f"shapes {a} and {b} do not fit")
        found.append(m if n == 1 else n)
    return tuple(reversed(found))


def _concat(node: Node, values: _Values) -> list[Shape]:
    shapes = [values.of(node, i) for i in range(len(node.inputs))]
    axis = _axis(node.integer("axis", 0), len(shapes[0])) if shapes else 0
    if len({(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}) != 1 or len({len(s) for s in shapes}) != 1:
        raise ShapeError(f"shapes {shapes[:4]} cannot be concatenated")
    first = shapes[0]
    return [(*first[:axis], sum(shape[axis] for shape in shapes), *first[axis + 1 :])]


def _gemm(node: Node, values: _Values) -> list[Shape]:
    a, b = values.of(node), values.of(node, 1)
    if len(a) != 2 or len(b) != 2:
        raise ShapeError(f"a node Gemm has inputs of shapes {a} and {b}")
    a = a[::-1] if node.integer("transA", 0) else a
    b = b[::-1] if node.integer("transB", 0) else b
    return _product(a, b)


def _matmul(node: Node, values: _Values) -> list[Shape]:
    a, b = values.of(node), values.of(node, 1)
    if len(a) < 2 or len(b) < 2:
        raise ShapeError(f"a node MatMul has inputs of shapes {a} and {b}")
    return _product(a, b)


def _product(a: Shape, b: Shape) -> list[Shape]:
    if a[-1] != b[-2]:
        raise ShapeError(f"matrices of shapes {a} and {b} do not fit")
    return [(*_broadcast_shape(a[:-2], b[:-2]), a[-2], b[-1])]


def _reduce(node: Node, values: _Values) -> list[Shape]:
    shape = values.of(node)
    axes = [_axis(axis, len(shape)) for axis in values.content(node, 1)]
    if not axes or len(set(axes)) != len(axes):
        raise ShapeError("the axes of a reduction must be named, each once")
    if node.integer("keepdims", 1):
        return [tuple(1 if i in axes else size for i, size in enumerate(shape))]
    return [tuple(size for i, size in enumerate(shape) if i not in axes)]


def _reshape(node: Node, values: _Values) -> list[Shape]:
    shape, wanted = values.of(node), values.content(node, 1)
    total = math.prod(shape)
    if min(wanted, default=1) < -1 or 0 in wanted or wanted.count(-1) > 1:
        raise ShapeError(f"a value cannot take the shape {wanted[:8]}")
    known = math.prod(size for size in wanted if size != -1)
    found = tuple(total // known if size == -1 else size for size in wanted)
    if math.prod(found) != total:
        raise ShapeError(f"a value of shape {shape} cannot take the shape {wanted[:8]}")
    return [found]


def _shape(node: Node, values: _Values) -> list[Shape]:
    return [(len(_integers(node, values) or ()),)]


def _split(node: Node, values: _Values) -> list[Shape]:
    shape, sizes = values.of(node), values.content(node, 1)
    axis = _axis(node.integer("axis", 0), len(shape))
    if min(sizes, default=-1) < 0 or sum(sizes) != shape[axis]:
        raise ShapeError(f"a value of shape {shape} cannot be split into {sizes[:8]}")
    return [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]


def _squeeze(node: Node, values: _Values) -> list[Shape]:
    shape = values.of(node)
    axes = {_axis(axis, len(shape)) for axis in values.content(node, 1)}
    if any(shape[axis] != 1 for axis in axes):
        raise ShapeError(f"a value of shape {shape} has sizes other than 1 on the axes to remove")
    return [tuple(size for i, size in enumerate(shape) if i not in axes)]


def _transpose(node: Node, values: _Values) -> list[Shape]:
    shape, order = values.of(node), node.attributes.get("perm")
    if not isinstance(order, tuple) or sorted(order) != list(range(len(shape))):
        raise ShapeError(f"a node Transpose of a value of {len(shape)} dimensions has the order {order}")
    return [tuple(shape[axis] for axis in order)]


def _unsqueeze(node: Node, values: _Values) -> list[Shape]:
    shape, axes = values.of(node), values.content(node, 1)
    places = {_axis(axis, len(shape) + len(axes)) for axis in axes}
    if len(places) != len(axes):
        raise ShapeError("a node Unsqueeze names an axis twice")
    rest = iter(shape)
    return [tuple(1 if i in places else next(rest) for i in range(len(shape) + len(axes)))]


def _axis(axis: int, ndim: int) -> int:
    if not -ndim <= axis < ndim:
        raise ShapeError(f"axis {axis} of a value of {ndim} dimensions")
    return axis % ndim


_RULES: dict[str, Callable[[Node, _Values], list[Shape]]] = {
    **dict.fromkeys(("Clip", "Exp", "Log", "Sigmoid"), _same),
    **dict.fromkeys(("Add", "Div", "Mul", "Sub"), _broadcast),
    "Concat": _concat,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "ReduceMax": _reduce,
    "Reshape": _reshape,
    "Shape": _shape,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
