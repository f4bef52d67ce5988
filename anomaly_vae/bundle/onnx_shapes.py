"""The shapes of a graph's values, computed from the shapes of inputs and weights before the graph runs.

A few nodes can take any amount of memory: a column times a row, or a value concatenated with itself many times. Such a
graph is valid, and onnxruntime computes its constant parts when it loads the graph. The rules are those of operator set
18, for the operators that models use: https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping

from anomaly_vae.bundle.onnx_convolutions import conv, conv_cost, conv_transpose, conv_transpose_cost
from anomaly_vae.bundle.onnx_nodes import STEPS_PER_NUMBER, Cost, Node, Shape, ShapeError, Values

__all__ = ["value_shapes"]

# Contents are followed only for lists of at most 1,024 integers. Chosen, not measured: shapes, sizes and axes are far
# shorter.
_MOST_INTEGERS = 1024

# Most dimensions of a value. Chosen, not measured: a model's graphs have 4.
_MOST_DIMS = 8


def value_shapes(
    nodes: Iterable[Node],
    inputs: Mapping[str, Shape],
    weights: Mapping[str, Shape],
    integers: Mapping[str, Shape],
    most: Cost,
) -> dict[str, Shape]:
    """Return the shapes of all values, by name.

    Args:
        nodes: The nodes, in order.
        inputs, weights: Shapes by name.
        integers: Contents of the weights that are lists of integers, by name.
        most: Limits of the elements of all values together, with the scratch memory of one node, and of the steps.

    Raises:
        ShapeError: The values have more elements, or need more steps, or the shapes do not fit together.
    """
    values, total, steps = Values(inputs, weights, integers), 0, 0
    for node in nodes:
        made = _RULES[node.operator](node, values)
        if len(made) != len(node.outputs):
            raise ShapeError(f"a node {node.operator} has {len(node.outputs)} outputs, expected {len(made)}")
        cost = _COSTS[node.operator](node, values, made) if node.operator in _COSTS else Cost(0, 0)
        steps += cost.steps
        for name, shape in zip(node.outputs, made, strict=True):
            total += math.prod(shape)
            if total + cost.elements > most.elements or len(shape) > _MOST_DIMS:
                raise ShapeError(f"its values need more than {most.elements} elements")
            if name in values.shapes:
                raise ShapeError(f"the name {name[:40]!r} is given twice")
            content = _integers(node, values) if shape <= (_MOST_INTEGERS,) else None
            values.shapes[name] = shape
            if content is not None:
                values.integers[name] = content
        if steps > most.steps:
            raise ShapeError(f"its nodes need more than {most.steps} multiplications")
    return values.shapes


def _integers(node: Node, values: Values) -> Shape | None:
    """Return the content of a value that is a shape, or a concatenation of shapes and constants."""
    if node.operator == "Shape":
        shape = values.of(node)
        return shape[node.integer("start", 0) : node.integer("end", len(shape))]
    if node.operator == "Concat" and all(name in values.integers for name in node.inputs):
        return tuple(itertools.chain.from_iterable(values.integers[name] for name in node.inputs))
    return None


def _same(node: Node, values: Values) -> list[Shape]:
    return [values.of(node)]


def _broadcast(node: Node, values: Values) -> list[Shape]:
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


def _concat(node: Node, values: Values) -> list[Shape]:
    shapes = [values.of(node, i) for i in range(len(node.inputs))]
    axis = _axis(node.integer("axis", 0), len(shapes[0])) if shapes else 0
    if len({(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}) != 1 or len({len(s) for s in shapes}) != 1:
        raise ShapeError(f"shapes {shapes[:4]} cannot be concatenated")
    first = shapes[0]
    return [(*first[:axis], sum(shape[axis] for shape in shapes), *first[axis + 1 :])]


def _gemm(node: Node, values: Values) -> list[Shape]:
    a, b = values.of(node), values.of(node, 1)
    if len(a) != 2 or len(b) != 2:
        raise ShapeError(f"a node Gemm has inputs of shapes {a} and {b}")
    a = a[::-1] if node.integer("transA", 0) else a
    b = b[::-1] if node.integer("transB", 0) else b
    return _product(a, b)


def _matmul(node: Node, values: Values) -> list[Shape]:
    a, b = values.of(node), values.of(node, 1)
    if len(a) < 2 or len(b) < 2:
        raise ShapeError(f"a node MatMul has inputs of shapes {a} and {b}")
    return _product(a, b)


def _product_cost(node: Node, values: Values, made: list[Shape]) -> Cost:
    """Return the cost of a product of matrices: thin ones take the time to read their numbers."""
    a, b = values.of(node), values.of(node, 1)
    read = math.prod(a) + math.prod(b)
    if len(b) > 2:  # otherwise all rows together are one matrix
        read = math.prod(made[0][:-2]) * (math.prod(a[-2:]) + math.prod(b[-2:]))
    length = b[-1] if node.operator == "Gemm" and node.integer("transB", 0) else b[-2]
    return Cost(0, length * math.prod(made[0]) + STEPS_PER_NUMBER * read)


def _product(a: Shape, b: Shape) -> list[Shape]:
    if a[-1] != b[-2]:
        raise ShapeError(f"matrices of shapes {a} and {b} do not fit")
    return [(*_broadcast_shape(a[:-2], b[:-2]), a[-2], b[-1])]


def _reduce(node: Node, values: Values) -> list[Shape]:
    shape = values.of(node)
    axes = [_axis(axis, len(shape)) for axis in values.content(node, 1)]
    if not axes or len(set(axes)) != len(axes):
        raise ShapeError("the axes of a reduction must be named, each once")
    if node.integer("keepdims", 1):
        return [tuple(1 if i in axes else size for i, size in enumerate(shape))]
    return [tuple(size for i, size in enumerate(shape) if i not in axes)]


def _reduce_cost(node: Node, values: Values, _: list[Shape]) -> Cost:
    """Return the cost of a reduction: it reads more than it writes."""
    return Cost(0, STEPS_PER_NUMBER * math.prod(values.of(node)))


def _reshape(node: Node, values: Values) -> list[Shape]:
    shape, wanted = values.of(node), values.content(node, 1)
    total = math.prod(shape)
    if min(wanted, default=1) < -1 or 0 in wanted or wanted.count(-1) > 1:
        raise ShapeError(f"a value cannot take the shape {wanted[:8]}")
    known = math.prod(size for size in wanted if size != -1)
    found = tuple(total // known if size == -1 else size for size in wanted)
    if math.prod(found) != total:
        raise ShapeError(f"a value of shape {shape} cannot take the shape {wanted[:8]}")
    return [found]


def _shape(node: Node, values: Values) -> list[Shape]:
    return [(len(_integers(node, values) or ()),)]


def _split(node: Node, values: Values) -> list[Shape]:
    shape, sizes = values.of(node), values.content(node, 1)
    axis = _axis(node.integer("axis", 0), len(shape))
    if min(sizes, default=-1) < 0 or sum(sizes) != shape[axis]:
        raise ShapeError(f"a value of shape {shape} cannot be split into {sizes[:8]}")
    return [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]


def _squeeze(node: Node, values: Values) -> list[Shape]:
    shape = values.of(node)
    axes = {_axis(axis, len(shape)) for axis in values.content(node, 1)}
    if any(shape[axis] != 1 for axis in axes):
        raise ShapeError(f"a value of shape {shape} has sizes other than 1 on the axes to remove")
    return [tuple(size for i, size in enumerate(shape) if i not in axes)]


def _transpose(node: Node, values: Values) -> list[Shape]:
    shape, order = values.of(node), node.attributes.get("perm")
    if not isinstance(order, tuple) or sorted(order) != list(range(len(shape))):
        raise ShapeError(f"a node Transpose of a value of {len(shape)} dimensions has the order {order}")
    return [tuple(shape[axis] for axis in order)]


def _unsqueeze(node: Node, values: Values) -> list[Shape]:
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


_RULES: dict[str, Callable[[Node, Values], list[Shape]]] = {
    **dict.fromkeys(("Clip", "Exp", "Log", "Sigmoid"), _same),
    **dict.fromkeys(("Add", "Div", "Mul", "Sub"), _broadcast),
    "Concat": _concat,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
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

# Costs beside the elements of the outputs.
_COSTS: dict[str, Callable[[Node, Values, list[Shape]], Cost]] = {
    "Conv": conv_cost,
    "ConvTranspose": conv_transpose_cost,
    "Gemm": _product_cost,
    "MatMul": _product_cost,
    "ReduceMax": _reduce_cost,
}
