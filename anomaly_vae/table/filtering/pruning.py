"""Whether any row of a part of a table can pass a filter, from the bounds of its columns alone."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import reduce
from itertools import product
from typing import NamedTuple

from anomaly_vae.table.filtering.tree import And, Check, Node, Not, Value

__all__ = ["Bounds", "Outcomes", "may_pass", "outcomes_of"]

# Truths that rows of a part can have; None is unknown.
Outcomes = frozenset[bool | None]
_ALL: Outcomes = frozenset({True, False, None})


class Bounds(NamedTuple):
    """What is known of a column in a part of a table.

    Attributes:
        low: No cell is below it; None if there is no bound.
        high: No cell is above it; None if there is no bound.
        may_miss: Whether a cell may be missing.
        may_have: Whether a cell may have a value.
    """

    low: Fraction | str | bool | None = None
    high: Fraction | str | bool | None = None
    may_miss: bool = True
    may_have: bool = True


def may_pass(node: Node, outcomes: Callable[[Check], Outcomes]) -> bool:
    """Return whether the filter may be true for a row; False only if it is certain that it is true for none."""
    return True in _combined(node, outcomes)


def _combined(node: Node, outcomes: Callable[[Check], Outcomes]) -> Outcomes:
    """Return which truths are possible, as if the parts were independent: never too few."""
    if isinstance(node, Check):
        return outcomes(node)
    if isinstance(node, Not):
        return frozenset(None if each is None else not each for each in _combined(node.part, outcomes))
    combine = _and if isinstance(node, And) else _or
    parts = [_combined(part, outcomes) for part in node.parts]
    return reduce(lambda left, right: frozenset(combine(a, b) for a, b in product(left, right)), parts)


def _and(left: bool | None, right: bool | None) -> bool | None:
    if left is False or right is False:
        return False
    return None if left is None or right is None else True


def _or(left: bool | None, right: bool | None) -> bool | None:
    if left or right:
        return True
    return None if left is None or right is None else False


def outcomes_of(test: Check, bounds: Bounds | None) -> Outcomes:
    """Return which truths a test can have within these bounds; None for a column of which nothing is known."""
    if bounds is None:
        return _ALL
    if test.operator == "null":
        return frozenset([True] * bounds.may_miss + [False] * bounds.may_have)
    found: set[bool | None] = {None} if bounds.may_miss else set()
    if bounds.may_have:
        found |= {True, False} if bounds.low is None or bounds.high is None else _within(test, bounds.low, bounds.high)
    return frozenset(found)


def _within(test: Check, low: Value, high: Value) -> set[bool]:
    """Return which truths cells from ``low`` to ``high`` may have."""
    operator, found = test.operator, set[bool]()
    if operator == "like":
        prefix = str(test.values[0]).replace("_", "%").partition("%")[0]
        may_start = str(low)[: len(prefix)] <= prefix and str(high) >= prefix
        return {True, False} if may_start else {False}
    if operator in ("=", "!=", "in"):
        has_equal = any(low <= value <= high for value in test.values)  # type: ignore[operator] # bound: one type
        found = {True, False} if has_equal else {False}
        return {not each for each in found} if operator == "!=" else found
    value = test.values[0]
    may_be = {
        "<": (low < value, high >= value),  # type: ignore[operator]
        "<=": (low <= value, high > value),  # type: ignore[operator]
        ">": (high > value, low <= value),  # type: ignore[operator]
        ">=": (high >= value, low < value),  # type: ignore[operator]
    }[operator]
    return {truth for truth, is_possible in zip((True, False), may_be, strict=True) if is_possible}
