"""Arrays that numpy.save wrote, mapped to memory. Python objects, which only pickle can read, are never read."""

from __future__ import annotations

import math
import sys
import tokenize
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anomaly_vae.arrow.buffers import from_strings
from anomaly_vae.arrow.faults import Fault
from anomaly_vae.errors import InvalidInput
from anomaly_vae.table.base import BATCH_ROWS, first_line
from anomaly_vae.table.raw import RawBatch
from anomaly_vae.table.sources.typed import TypedSource

__all__ = ["NpyHeader", "NpySource", "npy_header"]

_TYPES = {
    "i1": pa.int8(), "i2": pa.int16(), "i4": pa.int32(), "i8": pa.int64(),
    "u1": pa.uint8(), "u2": pa.uint16(), "u4": pa.uint32(), "u8": pa.uint64(),
    "f2": pa.float16(), "f4": pa.float32(), "f8": pa.float64(),
}  # fmt: skip

# What numpy raises for a damaged header, besides ValueError and its like.
_HEADER_ERRORS = (tokenize.TokenError, RecursionError, KeyError, AttributeError)
_ERRORS = (OSError, ValueError, EOFError, TypeError, SyntaxError, OverflowError, MemoryError, *_HEADER_ERRORS)
_DAMAGED = "damaged, or not a file of numpy.save"

_TIME_UNITS = ("s", "ms", "us", "ns")


class NpyHeader(NamedTuple):
    """What a file of numpy.save says about its array.

    Attributes:
        shape: Sizes of the axes, none negative; the file has all bytes of the array.
        kind: Type of the values, without Python objects.
        is_fortran: Whether the first axis changes fastest.
        start: Bytes before the array.
    """

    shape: tuple[int, ...]
    kind: np.dtype[Any]
    is_fortran: bool
    start: int


class NpySource(TypedSource):
    """A matrix with columns x0, x1, and so on, or an array of records. See :class:`~anomaly_vae.table.raw.Source`."""

    def __init__(self, path: Path, where: str) -> None:
        self.where, self.notes = where, tuple[str, ...]()
        self._array = _load(path, where)
        kind, shape = self._array.dtype, self._array.shape
        if kind.names is not None:
            if len(shape) != 1:
                raise InvalidInput(
                    f"{where}: holds records of shape {shape}, expected one dimension; save array.ravel()"
                )
            self.names, self._types = kind.names, [_type(kind[name], where, name) for name in kind.names]
        elif len(shape) in (1, 2):
            self.names = tuple(f"x{d}" for d in range(shape[1] if len(shape) == 2 else 1))
            self._types = [_type(kind, where)] * len(self.names)
        else:
            raise InvalidInput(
                f"{where}: holds an array of shape {shape}, expected a matrix (rows, columns); "
                "save array.reshape(len(array), -1)"
                if shape
                else f"{where}: holds a single value, expected a matrix (rows, columns)"
            )
        if not self.names:
            raise InvalidInput(f"{where}: has no columns: its shape is {shape}")
        self._done = 0

    def type_of(self, name: str) -> pa.DataType:
        """See :class:`~anomaly_vae.table.raw.Source`."""
        return self._types[self.names.index(name)]

    def batches(self, names: Sequence[str]) -> Iterator[RawBatch]:
        """See :class:`~anomaly_vae.table.raw.Source`."""
        for start in range(0, len(self._array), BATCH_ROWS):
            rows = self._array[start : start + BATCH_ROWS]
            faults: list[Fault | None] = [None] * len(rows)
            columns = [self._column(rows, name, faults) for name in names]
            self._done = start + len(rows)
            yield RawBatch(pa.RecordBatch.from_arrays(columns, names=list(names)), faults)

    def close(self) -> None:
        """Release the map of the file."""
        self._array = self._array[:0]

    def progress(self) -> tuple[float, float | None]:
        """Return the rows handed out and the rows in the file."""
        return self._done, len(self._array)

    def _column(self, rows: NDArray[Any], name: str, faults: list[Fault | None]) -> pa.Array:
        if rows.dtype.names is not None:
            values = rows[name]
        else:
            values = rows if rows.ndim == 1 else rows[:, self.names.index(name)]
        if values.dtype.kind == "U":
            values = _without_bad_characters(values, name, faults)
        if values.dtype.kind in "SU":
            return from_strings([_text(cell, name, i, faults) for i, cell in enumerate(values.tolist())]).cast(
                pa.string()
            )
        return _from_numbers(values, self.type_of(name))


def npy_header(path: Path, where: str) -> NpyHeader:
    """Read what a file of numpy.save says about its array.

    Raises:
        InvalidInput: It is damaged or cut off, or holds objects.
    """
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # files of Python 2
            version = np.lib.format.read_magic(file)
            if version == (1, 0):
                shape, is_fortran, kind = np.lib.format.read_array_header_1_0(file)
            else:
                shape, is_fortran, kind = np.lib.format.read_array_header_2_0(file)
            start = file.tell()
            missing = math.prod(shape) * kind.itemsize + start - path.stat().st_size
        if kind.hasobject:
            raise InvalidInput(f"{where}: holds Python objects, which only pickle can read; save numbers")
        if missing > 0 or min(shape, default=0) < 0:
            raise InvalidInput(f"{where}: is cut off: {missing} bytes of an array of shape {shape} are missing")
    except InvalidInput:
        raise
    except _ERRORS as error:
        raise InvalidInput(f"{where}: {_DAMAGED}: {first_line(error)}") from error
    return NpyHeader(shape, kind, is_fortran, start)


def _load(path: Path, where: str) -> NDArray[Any]:
    """Map the array to memory; raise InvalidInput if it is damaged or holds objects."""
    header = npy_header(path, where)
    try:
        if 0 in header.shape or header.kind.itemsize == 0:
            return np.empty(header.shape, header.kind)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.lib.format.open_memmap(path, mode="r")
    except _ERRORS as error:
        raise InvalidInput(f"{where}: {_DAMAGED}: {first_line(error)}") from error


def _type(kind: np.dtype[Any], where: str, name: str | None = None) -> pa.DataType:
    """Return the Arrow type for a numpy type."""
    if kind.kind == "b":
        return pa.bool_()
    if kind.kind in "SU":
        return pa.string()
    if kind.kind == "M":
        unit = np.datetime_data(kind)[0]
        return pa.timestamp(unit if unit in _TIME_UNITS else "s")
    if kind.kind == "f" and kind.itemsize > 8:
        return pa.float64()
    found = _TYPES.get(f"{kind.kind}{kind.itemsize}")
    if found is None or kind.subdtype is not None:
        place = f"field {name!r}" if name else "the array"
        raise InvalidInput(
            f"{where}: {place} holds values of type {kind}, expected numbers, texts or times", field=name
        )
    return found


def _from_numbers(values: NDArray[Any], kind: pa.DataType) -> pa.Array:
    """Convert numbers, booleans or times (N,) to an Arrow column of this type."""
    validity = None
    if kind == pa.bool_():
        data = np.packbits(values, bitorder="little")
    elif pa.types.is_timestamp(kind):
        validity = pa.py_buffer(np.packbits(~np.isnat(values), bitorder="little"))
        data = np.ascontiguousarray(values.astype(f"<M8[{kind.unit}]")).view(np.int64)
    else:
        data = np.ascontiguousarray(values, dtype=np.dtype(kind.to_pandas_dtype()))
    return pa.Array.from_buffers(kind, len(values), [validity, pa.py_buffer(data)])


def _without_bad_characters(values: NDArray[Any], name: str, faults: list[Fault | None]) -> NDArray[Any]:
    """Empty the texts with numbers that are no characters, which only damaged files have, and add faults for them."""
    values = np.array(values, dtype=values.dtype.newbyteorder("="))
    if values.dtype.itemsize:
        bad = (values.view(np.uint32).reshape(len(values), -1) > sys.maxunicode).any(axis=1)
        for i in np.flatnonzero(bad):
            faults[i] = faults[i] or Fault("unreadable", f"column {name!r}: holds numbers that are no characters")
        values.view(np.uint32).reshape(len(values), -1)[bad] = 0
    return values


def _text(cell: str | bytes, name: str, i: int, faults: list[Fault | None]) -> str | None:
    """Return a text, None for an empty one; bytes that are not ASCII or UTF-8 are a fault of the row."""
    try:
        return (cell if isinstance(cell, str) else cell.decode()).encode().decode() or None
    except UnicodeError:
        faults[i] = faults[i] or Fault("unreadable", f"column {name!r}: {cell!r:.60} is not UTF-8 text")
        return None
