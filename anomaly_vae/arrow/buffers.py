"""Convert between numpy arrays and Arrow columns through their buffers.

``pa.array``, ``pa.scalar`` and ``to_numpy`` of pyarrow import pandas if it is installed. Measured: the import takes
0.5 s and 50 MB, and scoring does not need it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray

__all__ = ["from_numpy", "from_strings", "scatter", "to_float64"]


def to_float64(column: pa.Array) -> FloatArray:
    """Convert an Arrow column of numbers, booleans or numbers as text to float64, nulls to NaN.

    Raises:
        pa.ArrowInvalid: A text is not a number.
    """
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    column = column.cast(pa.float64(), safe=False)
    validity, data = column.buffers()
    if len(column) == 0:
        return np.empty(0)
    part = slice(column.offset, column.offset + len(column))
    values = np.frombuffer(data, np.float64)[part]
    if column.null_count == 0:
        return values
    bits = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little")[part]
    return np.where(bits == 1, values, np.nan)


def from_numpy(values: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> pa.Array:
    """Convert a float64, int64 or bool array (N,) to an Arrow column, with nulls where ``valid`` is False."""
    kind = {"f": pa.float64(), "i": pa.int64(), "b": pa.bool_()}[values.dtype.kind]
    data = np.packbits(values, bitorder="little") if kind == pa.bool_() else np.ascontiguousarray(values)
    validity = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(kind, len(values), [validity, pa.py_buffer(data)])


def from_strings(values: Sequence[str | bytes | None]) -> pa.Array:
    """Convert texts (N,) to an Arrow column, None to null; its type is binary if any value is bytes, else string."""
    kind = pa.binary() if any(isinstance(value, bytes) for value in values) else pa.string()
    data = [value.encode() if isinstance(value, str) else value or b"" for value in values]
    offsets = np.cumsum([0, *map(len, data)], dtype=np.int32)
    valid = np.array([value is not None for value in values], dtype=bool)
    buffers = [np.packbits(valid, bitorder="little"), offsets, np.frombuffer(b"".join(data), np.uint8)]
    return pa.Array.from_buffers(kind, len(values), [pa.py_buffer(buffer) for buffer in buffers])


def scatter(values: NDArray[Any], selected: NDArray[np.bool_]) -> pa.Array:
    """Return an Arrow column (N,) with the values at the selected rows, and null at all other rows and for NaN."""
    full = np.zeros(len(selected), dtype=values.dtype)
    full[selected] = values
    valid = selected & ~np.isnan(full) if values.dtype.kind == "f" else selected
    return from_numpy(full, valid)
