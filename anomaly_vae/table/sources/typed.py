"""What all formats with types share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from anomaly_vae.columns.reading.records import Decimal
from anomaly_vae.table.raw import Fragment

__all__ = ["TypedSource", "common_type", "pick", "plain_type"]

_TIME_UNITS = ("s", "ms", "us", "ns")


class TypedSource:
    """What a source of typed columns says about text, which it has none of."""

    is_text = False
    decimal: Decimal | None = None
    certain_decimals: Mapping[str, Decimal] = {}
    encoding: str | None = None
    fragments: tuple[Fragment, ...] = ()
    skipped: Mapping[int, str] = {}

    def skip_to(self, fragment: int) -> None:
        """See :class:`~anomaly_vae.table.raw.Source`; there is one file."""


def common_type(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    """Return the type for the values of both: of numbers, of texts, or of times; None if there is none."""
    if first == second or pa.types.is_null(second):
        return first
    if pa.types.is_null(first):
        return second
    if _is_number(first) and _is_number(second):
        are_integers = all(pa.types.is_integer(kind) and kind != pa.uint64() for kind in (first, second))
        return pa.int64() if are_integers else pa.float64()
    if _is_text(first) and _is_text(second):
        is_large = any(pa.types.is_large_string(kind) for kind in (first, second))
        return pa.large_string() if is_large else pa.string()
    if pa.types.is_timestamp(first) and pa.types.is_timestamp(second) and (first.tz is None) == (second.tz is None):
        return pa.timestamp(max(first.unit, second.unit, key=_TIME_UNITS.index), first.tz)
    return None


def _is_number(kind: pa.DataType) -> bool:
    types = pa.types
    return any(check(kind) for check in (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal))


def _is_text(kind: pa.DataType) -> bool:
    types = pa.types
    if types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return any(check(kind) for check in (types.is_string, types.is_large_string, types.is_string_view))


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type that stores the values of an extension type."""
    while isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    return kind


def pick(batch: pa.RecordBatch, names: Sequence[str]) -> pa.RecordBatch:
    """Return these columns in this order, without extension types. Of equal names the first column counts."""
    found = batch.schema.names
    columns = [_plain(batch.column(found.index(name))) for name in names]
    return pa.RecordBatch.from_arrays(columns, names=list(names))


def _plain(column: pa.Array) -> pa.Array:
    while isinstance(column.type, pa.BaseExtensionType):
        column = column.storage
    return column
