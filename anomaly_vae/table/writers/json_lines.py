"""JSON lines: one object per row. NaN and infinity become null, which JSON has instead of them."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec
import pyarrow as pa

__all__ = ["JsonLinesWriter"]

_ENCODER = msgspec.json.Encoder(enc_hook=str)


class _Sink(Protocol):
    def write(self, data: bytes) -> object: ...


class JsonLinesWriter:
    """Writes floats with the fewest digits that give the same number, decimals exactly, and times as in ISO 8601."""

    def __init__(self, sink: _Sink) -> None:
        self._sink = sink

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch."""
        names = batch.schema.names
        rows = zip(*[_values(column) for column in batch.columns], strict=True)
        self._sink.write(b"".join(_ENCODER.encode(dict(zip(names, row, strict=True))) + b"\n" for row in rows))


def _values(column: pa.Array) -> list[Any]:
    """Return the values of a column as msgspec can write them."""
    kind, types = column.type, pa.types
    if types.is_dictionary(kind):
        return _values(column.dictionary_decode())
    if types.is_float16(kind):
        column = column.cast(pa.float32())
    elif types.is_decimal(kind):
        return [value and msgspec.Raw(value.encode()) for value in column.cast(pa.string()).to_pylist()]
    elif types.is_timestamp(kind):
        in_utc = column.cast(pa.timestamp(kind.unit, "UTC")) if kind.tz else column
        return [value and value.replace(" ", "T") for value in in_utc.cast(pa.string()).to_pylist()]
    elif types.is_duration(kind):
        column = column.cast(pa.int64())
    elif types.is_date(kind) or types.is_time(kind):
        column = column.cast(pa.string())
    values: list[Any] = column.to_pylist()
    return values
