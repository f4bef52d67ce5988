"""The truth of a filter for each row: true, false, or null where a cell is missing. NaN is a missing cell."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from anomaly_vae.columns.reading.records import Decimal
from anomaly_vae.table.filtering.binding import NANOSECONDS, kind_of
from anomaly_vae.table.filtering.tree import And, Check, Node, Not, Or, Value

__all__ = ["truth_of"]

_NUMBER = {mark: rf"^[+-]?(\d+{sign}?\d*|{sign}\d+)([eE][+-]?\d+)?$" for mark, sign in ((".", r"\."), (",", ","))}
_COMPARE: dict[str, Any] = {
    "=": pc.equal, "!=": pc.not_equal, "<": pc.less, "<=": pc.less_equal, ">": pc.greater, ">=": pc.greater_equal,
}  # fmt: skip


def truth_of(
    node: Node, columns: Mapping[str, pa.Array], untyped: frozenset[str] = frozenset(), decimal: Decimal = "."
) -> pa.BooleanArray:
    """Return the truth of a bound filter.

    Args:
        node: The filter.
        columns: The cells of its columns.
        untyped: Columns of texts that may stand for numbers; a text that is none then counts as missing.
        decimal: The decimal mark of these.

    Returns:
        One entry per row; null if it is unknown.
    """
    if isinstance(node, Not):
        return pc.invert(truth_of(node.part, columns, untyped, decimal))
    if isinstance(node, (And, Or)):
        combine = pc.and_kleene if isinstance(node, And) else pc.or_kleene
        return reduce(combine, (truth_of(part, columns, untyped, decimal) for part in node.parts))
    column = columns[node.name]
    if node.operator == "null":
        return pc.is_null(_as_real(column) if pa.types.is_floating(column.type) else column)
    if node.operator == "in":
        tests = (_truth(node._replace(operator="="), value, column, untyped, decimal) for value in node.values)
        return reduce(pc.or_kleene, tests)
    return _truth(node, node.values[0], column, untyped, decimal)


def _truth(test: Check, value: Value, column: pa.Array, untyped: frozenset[str], decimal: Decimal) -> pa.BooleanArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = kind_of(column.type, is_untyped=test.name in untyped)
    if test.operator == "like":
        return pc.match_like(column.cast(pa.large_string()), str(value).replace("\\", "\\\\"))
    compare = _COMPARE[test.operator]
    if isinstance(value, bool):
        return compare(_as_truth(column) if kind == "cells" else column, pa.scalar(value))
    if isinstance(value, str):
        return compare(column.cast(pa.large_string()), pa.scalar(value, pa.large_string()))
    if kind == "cells":
        return compare(_as_number(column, decimal), pa.scalar(_float(value)))
    if kind == "real":
        return compare(_as_real(column), pa.scalar(_float(value)))
    if kind == "time":
        column, unit = _as_ticks(column)
        return _exact(test.operator, column, value / unit)
    return _exact(test.operator, column, value)


def _exact(operator: str, column: pa.Array, value: Fraction) -> pa.BooleanArray:
    """Compare whole numbers with any number, without rounding either."""
    floor = value.numerator // value.denominator
    is_whole = value.denominator == 1
    if not is_whole:
        if operator in ("=", "!="):
            return _constant(column, operator == "!=")
        operator = {"<": "<=", ">=": ">"}.get(operator, operator)  # x < 1.5 is x <= 1, and x >= 1.5 is x > 1
    try:
        bound = pa.scalar(floor, column.type)
    except (pa.ArrowInvalid, OverflowError):  # outside of what the type can hold
        return _constant(column, {"=": False, "!=": True}.get(operator, (floor > 0) == operator.startswith("<")))
    return _COMPARE[operator](column, bound)


def _constant(column: pa.Array, value: bool) -> pa.BooleanArray:
    return pc.if_else(pc.is_valid(column), pa.scalar(value), pa.scalar(None, pa.bool_()))


def _float(value: Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _as_real(column: pa.Array) -> pa.Array:
    cells = column.cast(pa.float64())
    return pc.if_else(pc.is_nan(cells), pa.scalar(None, pa.float64()), cells)


def _as_number(column: pa.Array, decimal: Decimal) -> pa.Array:
    """Return texts as numbers, null where they are none."""
    cells = pc.utf8_trim_whitespace(column.cast(pa.large_string()))
    cells = pc.if_else(pc.match_substring_regex(cells, _NUMBER[decimal]), cells, pa.scalar(None, pa.large_string()))
    if decimal == ",":
        cells = pc.replace_substring(cells, ",", ".")
    return pc.utf8_ltrim(cells, characters="+").cast(pa.float64())


def _as_truth(column: pa.Array) -> pa.Array:
    cells = pc.utf8_lower(column.cast(pa.large_string()))
    known = pc.is_in(cells, pa.array(["true", "false"], pa.large_string()))
    return pc.if_else(known, pc.equal(cells, "true"), pa.scalar(None, pa.bool_()))


def _as_ticks(column: pa.Array) -> tuple[pa.Array, int]:
    """Return times as whole numbers, and the nanoseconds of one."""
    if pa.types.is_date32(column.type):
        return column.cast(pa.int32()), 86_400 * 10**9
    unit = "ms" if pa.types.is_date64(column.type) else column.type.unit
    return column.cast(pa.int64()), NANOSECONDS[unit]
