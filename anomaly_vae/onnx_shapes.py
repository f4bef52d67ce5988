"""What a graph's values would take, worked out from its weights' shapes before anything is computed.

A few nodes can ask for any amount of memory: a column times a row, or a value joined to itself again and again. A
parser finds nothing wrong with that, and some parsers compute what is constant at once. The rules are those of opset
18, for the operators that models use, see https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

__all__ = ["Node", "Shape", "ShapeError", "value_shapes"]

Shape = tuple[int, ...]

# More integers than this are no shape.
_MOST_INTEGERS = 1024
_MOST_DIMS = 8


class ShapeError(ValueError):
    """The shapes of a graph do not fit together, or cannot be known before it runs."""


class Node(NamedTuple):
    """One operation.

    Attributes:
        operator: Its name.
        inputs, outputs: Names of values; an optional one that is absent has the name "".
        attributes: Those that are integers.
    """

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, int]


class _Values:
    """Shapes of the values made so far, and the contents of those that hold shapes, sizes and axes."""

    def __init__(self, shapes: Mapping[str, Shape], integers: Mapping[str, Shape]) -> None:
        self.shapes, self.integers = dict(shapes), dict(integers)

    def of(self, node: Node, i: int = 0) -> Shape:
        """The shape of a node's input."""
        if i >= len(node.inputs) or node.inputs[i] not in self.shapes:
            raise ShapeError(f"input {i} of a node {node.operator} is made nowhere before it")
        return self.shapes[node.inputs[i]]

    def content(self, node: Node, i: int) -> Shape:
        """The integers in a node's input."""
        self.of(node, i)
        if node.inputs[i] not in self.integers:
            raise ShapeError(f"input {i} of a node {node.operator} is not known before it runs")
        return self.integers[node.inputs[i]]


def value_shapes(
    nodes: Iterable[Node], shapes: Mapping[str, Shape], integers: Mapping[str, Shape], most: int
) -> dict[str, Shape]:
    """Follow the shapes of inputs and weights through the nodes, in order.

    Args:
        nodes: The graph.
        shapes: Of inputs and weights, by name.
        integers: What the weights of integers hold, by name.
        most: Elements that all values together may have.

    Returns:
        The shapes of all values, by name.

    Raises:
        ShapeError: They would have more, or the shapes do not fit.
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
    """What a value holds that is a shape, or joined from shapes and constants."""
    if node.operator == "Shape":
        shape = values.of(node)
        return shape[node.attributes.get("start", 0) : node.attributes.get("end", len(shape))]
    if node.operator == "Concat" and all(name in values.integers for name in node.inputs):
        return tuple(itertools.chain.from_iterable(values.integers[name] for name in node.inputs))
    return None


def _same(node: Node, values: _Values) -> list[Shape]:
    return [values.of(node)]


def _broadcast(node: Node, values: _Values) -> list[Shape]:
    return [_joined(values.of(node), values.of(node, 1))]


def _joined(a: Shape, b: Shape) -> Shape:
    pairs = itertools.zip_longest(reversed(a), reversed(b), fillvalue=1)
    found = []
    for n, m in pairs:
        if n != m and 1 not in (n, m):
            raise ShapeError(f"shapes {a} and {b} do not fit")
        found.append(m if n == 1 else n)
    return tuple(reversed(found))


def _concat(node: Node, values: _Values) -> list[Shape]:
    shapes = [values.of(node, i) for i in range(len(node.inputs))]
    axis = _axis(node.attributes.get("axis", 0), len(shapes[0])) if shapes else 0
    if len({(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}) != 1 or len({len(s) for s in shapes}) != 1:
        raise ShapeError(f"shapes {shapes[:4]} cannot be joined")
    first = shapes[0]
    return [(*first[:axis], sum(shape[axis] for shape in shapes), *first[axis + 1 :])]


def _gemm(node: Node, values: _Values) -> list[Shape]:
    a, b = values.of(node), values.of(node, 1)
    if len(a) != 2 or len(b) != 2:
        raise ShapeError(f"a node Gemm has inputs of shapes {a} and {b}")
    a = a[::-1] if node.attributes.get("transA", 0) else a
    b = b[::-1] if node.attributes.get("transB", 0) else b
    return _product(a, b)


def _matmul(node: Node, values: _Values) -> list[Shape]:
    a, b = values.of(node), values.of(node, 1)
    if len(a) < 2 or len(b) < 2:
        raise ShapeError(f"a node MatMul has inputs of shapes {a} and {b}")
    return _product(a, b)


def _product(a: Shape, b: Shape) -> list[Shape]:
    if a[-1] != b[-2]:
        raise ShapeError(f"matrices of shapes {a} and {b} do not fit")
    return [(*_joined(a[:-2], b[:-2]), a[-2], b[-1])]


def _reduce(node: Node, values: _Values) -> list[Shape]:
    shape = values.of(node)
    axes = [_axis(axis, len(shape)) for axis in values.content(node, 1)]
    if node.attributes.get("keepdims", 1):
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
    axis = _axis(node.attributes.get("axis", 0), len(shape))
    if min(sizes, default=-1) < 0 or sum(sizes) != shape[axis]:
        raise ShapeError(f"a value of shape {shape} cannot be cut into {sizes[:8]}")
    return [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]


def _squeeze(node: Node, values: _Values) -> list[Shape]:
    shape = values.of(node)
    axes = {_axis(axis, len(shape)) for axis in values.content(node, 1)}
    if any(shape[axis] != 1 for axis in axes):
        raise ShapeError(f"a value of shape {shape} has sizes other than 1 to leave out")
    return [tuple(size for i, size in enumerate(shape) if i not in axes)]


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
    **dict.fromkeys(("Clip", "Exp", "Log", "Sigmoid", "Softplus"), _same),
    **dict.fromkeys(("Add", "Div", "Mul", "Sub"), _broadcast),
    "Concat": _concat,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "ReduceSum": _reduce,
    "Reshape": _reshape,
    "Shape": _shape,
    "Split": _split,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
}
