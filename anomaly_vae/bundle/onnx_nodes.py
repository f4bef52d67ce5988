"""The nodes of a graph, and what is known of its values before it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["STEPS_PER_NUMBER", "Cost", "Node", "Shape", "ShapeError", "Values"]

Shape = tuple[int, ...]

# Multiplications that take as long as reading or copying one number. Measured with onnxruntime 1.32 on one core: 0.2 to
# 1.5 ns a number, and 0.02 to 0.08 ns a multiplication in a product of large matrices.
STEPS_PER_NUMBER = 16


class ShapeError(ValueError):
    """The shapes of a graph do not fit together, are not known before it runs, or need too much memory or time."""


class Cost(NamedTuple):
    """What a node, or a graph, takes in one call.

    Attributes:
        elements: Numbers in memory: in the values of a graph, or in a node's scratch memory beside its inputs and
            outputs.
        steps: Multiplications, or what takes as long.
    """

    elements: int
    steps: int


class Node(NamedTuple):
    """One operation.

    Attributes:
        operator: The name of the operator.
        inputs, outputs: Names of values; an omitted optional input has the name "".
        attributes: The attributes with integer values, or lists of integers; 0 for those with other values.
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

    def integers(self, name: str, default: Shape) -> Shape:
        """Return an attribute that is a list of as many integers as its default."""
        value = self.attributes.get(name, default)
        if not isinstance(value, tuple) or len(value) != len(default):
            raise ShapeError(
                f"attribute {name} of a node {self.operator} is {value}, expected a list of {len(default)} integers"
            )
        return value


class Values:
    """Shapes of the values so far, and the contents of those that hold shapes, sizes or axes.

    Attributes:
        shapes: Shapes by name.
        integers: Contents by name.
    """

    def __init__(
        self, inputs: Mapping[str, Shape], weights: Mapping[str, Shape], integers: Mapping[str, Shape]
    ) -> None:
        """Start with the shapes of inputs and weights, and the contents of weights that are lists of integers."""
        self.shapes, self.integers = {**inputs, **weights}, dict(integers)
        self._weights = weights

    def of(self, node: Node, i: int = 0) -> Shape:
        """Return the shape of a node's input."""
        if i >= len(node.inputs) or node.inputs[i] not in self.shapes:
            raise ShapeError(f"input {i} of a node {node.operator} is not the output of an earlier node")
        return self.shapes[node.inputs[i]]

    def weight(self, node: Node, i: int) -> Shape:
        """Return the shape of a node's input that is a weight."""
        if i >= len(node.inputs) or node.inputs[i] not in self._weights:
            raise ShapeError(f"input {i} of a node {node.operator} is not a weight")
        return self._weights[node.inputs[i]]

    def content(self, node: Node, i: int) -> Shape:
        """Return the integers in a node's input."""
        self.of(node, i)
        if node.inputs[i] not in self.integers:
            raise ShapeError(f"input {i} of a node {node.operator} is not known before it runs")
        return self.integers[node.inputs[i]]
