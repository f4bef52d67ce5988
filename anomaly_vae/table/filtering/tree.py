"""What a filter says, as a tree. Its truth has the three values of SQL: true, false and unknown."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Literal, NamedTuple

__all__ = ["And", "Check", "Node", "Not", "Operator", "Or", "Value", "checks_of"]

Value = Fraction | str | bool
Operator = Literal["=", "!=", "<", "<=", ">", ">=", "in", "like", "null"]


class Check(NamedTuple):
    """A test of one column.

    Attributes:
        name: The column.
        operator: What is tested; "null" is true for missing cells.
        values: What the cell is compared with: one value, several for "in", none for "null".
    """

    name: str
    operator: Operator
    values: tuple[Value, ...]


class And(NamedTuple):
    """True if all parts are."""

    parts: tuple[Node, ...]


class Or(NamedTuple):
    """True if one part is."""

    parts: tuple[Node, ...]


class Not(NamedTuple):
    """True if the part is false; unknown if it is unknown."""

    part: Node


Node = Check | And | Or | Not


def checks_of(node: Node) -> Iterator[Check]:
    """Yield the tests of a tree."""
    if isinstance(node, Check):
        yield node
    elif isinstance(node, Not):
        yield from checks_of(node.part)
    else:
        for part in node.parts:
            yield from checks_of(part)
