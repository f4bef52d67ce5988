"""The bounds of columns in a row group of Parquet, as far as its statistics can be trusted."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import pyarrow as pa

from anomaly_vae.table.filtering.binding import NANOSECONDS, kind_of
from anomaly_vae.table.filtering.pruning import Bounds

__all__ = ["bounds_of_group"]

_UNITS = {"milliseconds": NANOSECONDS["ms"], "microseconds": NANOSECONDS["us"], "nanoseconds": NANOSECONDS["ns"]}
_DAY = 86_400 * 10**9


def bounds_of_group(group: Any, name: str, file_type: pa.DataType, table_type: pa.DataType) -> Bounds | None:
    """Return what the statistics of a row group say about a column.

    Texts may be cut to shorter bounds, which still are bounds. Missing cells of floats may be NaN, which statistics do
    not count. Statistics that contradict themselves are not used.

    Args:
        group: The row group, of ``pyarrow.parquet``.
        name: The column.
        file_type: Its type in the file.
        table_type: Its type in the table of several files.

    Returns:
        The bounds; None if nothing is known.
    """
    kind = kind_of(table_type, is_untyped=False)
    if kind != kind_of(file_type, is_untyped=False) and not (kind == "real" and pa.types.is_integer(file_type)):
        return None
    chunks = [chunk for chunk in map(group.column, range(group.num_columns)) if chunk.path_in_schema == name]
    if len(chunks) != 1 or not chunks[0].is_stats_set:
        return None
    try:
        found = chunks[0].statistics
        nulls = found.null_count if found.has_null_count else None
        rows = group.num_rows
        if nulls is not None and not 0 <= nulls <= rows:
            return None
        may_miss = nulls != 0 or pa.types.is_floating(file_type)
        bounds = Bounds(may_miss=may_miss, may_have=nulls is None or nulls < rows)
        limits = _limits(found, file_type) if found.has_min_max else None
    except (ValueError, OverflowError, TypeError, KeyError, pa.ArrowException):
        return None
    if limits is None:
        return bounds
    low, high = limits
    if kind == "real":  # as the cells are compared: rounded to float64
        low, high = Fraction(float(low)), Fraction(float(high))
    return bounds._replace(low=low, high=high) if low <= high else None


def _limits(found: Any, kind: pa.DataType) -> tuple[Any, Any] | None:
    """Return the least and the largest value, or bounds of them; None if they cannot be trusted."""
    types = pa.types
    if types.is_timestamp(kind):
        unit = _UNITS[_logical(found)["timeUnit"]]
        return tuple(Fraction(int(raw) * unit) for raw in (found.min_raw, found.max_raw))  # type: ignore[return-value]
    if types.is_date32(kind):
        return tuple(Fraction(int(raw) * _DAY) for raw in (found.min_raw, found.max_raw))  # type: ignore[return-value]
    if types.is_floating(kind) and not types.is_float16(kind):
        low, high = found.min, found.max
        return (Fraction(low), Fraction(high)) if math.isfinite(low) and math.isfinite(high) else None
    if types.is_integer(kind) and isinstance(found.min, int):
        return Fraction(found.min), Fraction(found.max)
    if types.is_boolean(kind) and isinstance(found.min, bool):
        return found.min, found.max
    if kind_of(kind, is_untyped=False) == "text":
        return (found.min, found.max) if isinstance(found.min, str) and isinstance(found.max, str) else None
    return None


def _logical(found: Any) -> Mapping[str, Any]:
    logical: dict[str, Any] = json.loads(found.logical_type.to_json())
    return logical
