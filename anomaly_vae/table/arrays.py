"""numpy to Arrow and back through the buffers.

pyarrow's own ``pa.array``, ``pa.scalar`` and ``to_numpy`` import pandas where it is installed: half a second and 50 MB
that scoring does not need.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anomaly_vae.densities import FloatArray

__all__ = ["from_numpy", "from_strings", "spread", "to_float64"]


def to_float64(column: pa.Array) -> FloatArray:
    """An Arrow column of numbers, booleans or text of numbers as float64, NaN for nulls."""
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    column = column.cast(pa.float64(), safe=False)
    validity, data = column.buffers()
    if len(column) == 0:
        return np.empty(0)
    ours = slice(column.offset, column.offset + len(column))
    values = np.frombuffer(data, np.float64)[ours]
    if column.null_count == 0:
        return values
    bits = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little")[ours]
    return np.where(bits == 1, values, np.nan)


def from_numpy(values: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> pa.Array:
    """A float64, int64 or bool array (N,) as an Arrow column, null where it is not valid."""
    kind = {"f": pa.float64(), "i": pa.int64(), "b": pa.bool_()}[values.dtype.kind]
    data = np.packbits(values, bitorder="little") if kind == pa.bool_() else np.ascontiguousarray(values)
    validity = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(kind, len(values), [validity, pa.py_buffer(data)])


def from_strings(values: Sequence[str | bytes | None]) -> pa.Array:
    """Text (N,) as an Arrow column of strings, of binaries where any value is bytes; None is null."""
    kind = pa.binary() if any(isinstance(value, bytes) for value in values) else pa.string()
    data = [value.encode() if isinstance(value, str) else value or b"" for value in values]
    offsets = np.cumsum([0, *map(len, data)], dtype=np.int32)
    valid = np.array([value is not None for value in values], dtype=bool)
    buffers = [np.packbits(valid, bitorder="little"), offsets, np.frombuffer(b"".join(data), np.uint8)]
    return pa.Array.from_buffers(kind, len(values), [pa.py_buffer(buffer) for buffer in buffers])


def spread(values: NDArray[Any], place: NDArray[np.bool_]) -> pa.Array:
    """One value for each True of ``place`` (N,), null elsewhere and where a float is NaN, as an Arrow column."""
    full = np.zeros(len(place), dtype=values.dtype)
    full[place] = values
    valid = place & ~np.isnan(full) if values.dtype.kind == "f" else place
    return from_numpy(full, valid)
