"""Fit a filter to the columns of a table: do they exist, and can they be compared with its values?"""

from __future__ import annotations

import datetime
import re
from collections.abc import Collection, Mapping
from fractions import Fraction
from typing import Literal

import pyarrow as pa

from anomaly_vae.errors import InvalidInput
from anomaly_vae.table.filtering.tree import And, Check, Node, Not, Or, Value, checks_of

__all__ = ["NANOSECONDS", "ColumnKind", "bind", "kind_of"]

ColumnKind = Literal["whole", "real", "text", "cells", "truth", "time", "other"]

NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}

_WORDS = {
    "whole": "whole numbers", "real": "numbers", "text": "texts", "cells": "texts", "truth": "true and false",
    "time": "times", "other": "values that a filter can only test for IS NULL",
}  # fmt: skip

_FRACTION = re.compile(r"^(.*:\d\d)\.(\d{1,9})(.*)$")
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def kind_of(kind: pa.DataType, *, is_untyped: bool) -> ColumnKind:
    """Return how the cells of a column are compared; ``is_untyped`` columns hold texts that may be anything."""
    types = pa.types
    if is_untyped:
        return "cells"
    if types.is_dictionary(kind):
        return kind_of(kind.value_type, is_untyped=False)
    if types.is_boolean(kind):
        return "truth"
    if types.is_integer(kind):
        return "whole"
    if types.is_floating(kind) or types.is_decimal(kind):
        return "real"
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return "text"
    return "time" if types.is_timestamp(kind) or types.is_date(kind) else "other"


def bind(node: Node, types: Mapping[str, pa.DataType], untyped: Collection[str], where: str) -> Node:
    """Return the filter with times as nanoseconds since 1970 where columns hold times.

    Args:
        node: The filter.
        types: The columns of the table and their types.
        untyped: Columns of texts that have no type: those of CSV and JSON lines, and partition keys.
        where: The table, for messages.

    Raises:
        InvalidInput: A column does not exist, or does not hold what it is compared with.
    """
    for test in checks_of(node):
        if test.name not in types:
            known = ", ".join(map(repr, [name for name in types if name][:10]))
            raise InvalidInput(
                f"--filter: {where} has no column {test.name!r}; it has {known}. Texts are in single quotes",
                field=test.name,
            )
    if isinstance(node, Not):
        return Not(bind(node.part, types, untyped, where))
    if isinstance(node, (And, Or)):
        return type(node)(tuple(bind(part, types, untyped, where) for part in node.parts))
    return _bound(node, types[node.name], is_untyped=node.name in untyped)


def _bound(test: Check, type_: pa.DataType, *, is_untyped: bool) -> Check:
    kind = kind_of(type_, is_untyped=is_untyped)
    if test.operator == "null":
        return test
    if test.operator == "like" and kind not in ("text", "cells"):
        raise _unfit(test, kind, type_, "LIKE is for texts")
    if test.operator not in ("=", "!=", "in") and any(isinstance(value, bool) for value in test.values):
        raise _unfit(test, kind, type_, "TRUE and FALSE have no order")
    return test._replace(values=tuple(_fitting(test, value, kind, type_) for value in test.values))


def _fitting(test: Check, value: Value, kind: ColumnKind, type_: pa.DataType) -> Value:
    if kind == "cells":
        return value
    if isinstance(value, bool):
        if kind == "truth":
            return value
        raise _unfit(test, kind, type_, f"it cannot be compared with {str(value).upper()}")
    if isinstance(value, str):
        if kind == "text":
            return value
        if kind == "time":
            return _nanoseconds(test, value, type_)
        hint = "; write the number without quotes" if kind in ("whole", "real") else ""
        raise _unfit(test, kind, type_, f"it cannot be compared with the text {value!r}{hint}")
    if kind in ("whole", "real"):
        return value
    hint = "; write the number in single quotes" if kind == "text" else ""
    hint = "; write a time such as '2024-01-31' or '2024-01-31 12:00:00'" if kind == "time" else hint
    raise _unfit(test, kind, type_, f"it cannot be compared with a number{hint}")


def _unfit(test: Check, kind: ColumnKind, type_: pa.DataType, why: str) -> InvalidInput:
    return InvalidInput(f"--filter: column {test.name!r} holds {_WORDS[kind]} ({type_}): {why}", field=test.name)


def _nanoseconds(test: Check, text: str, type_: pa.DataType) -> Fraction:
    """Return a time as nanoseconds since 1970; without a zone it is UTC for columns that have one."""
    match = _FRACTION.match(text.strip())
    whole, digits = (match[1] + match[3], match[2]) if match else (text.strip(), "")
    try:
        time = datetime.datetime.fromisoformat(whole)
    except ValueError as error:
        raise _unfit(test, "time", type_, f"{text!r} is no time such as '2024-01-31' or '2024-01-31 12:00'") from error
    if time.tzinfo is not None and getattr(type_, "tz", None) is None:
        raise _unfit(test, "time", type_, f"{text!r} has a time zone, and the column has none")
    time = time if time.tzinfo else time.replace(tzinfo=datetime.UTC)
    seconds = (time - _EPOCH) // datetime.timedelta(seconds=1)
    return Fraction(seconds * 10**9 + int(digits.ljust(9, "0") or 0))
