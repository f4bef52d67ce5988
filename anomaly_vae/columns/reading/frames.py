"""The columns of tables in memory: numpy arrays, pandas and polars frames, Arrow tables; imports none of them."""

from __future__ import annotations

import math
import numbers
import sys
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.reading.cells import EXACT_WHOLE, CellReader
from anomaly_vae.columns.reading.missing import Markers
from anomaly_vae.columns.reading.recognise import ROWS_TO_RECOGNISE, Form, Sample, count_texts
from anomaly_vae.columns.reading.records import NumberReading

__all__ = ["Cells", "cells_of", "read_cells", "sample_of"]

_LAST_YEAR = 9999

# Every whole number of this many decimal digits is a float64.
_DIGITS_OF_FLOAT = 15


class Cells(NamedTuple):
    """The cells of one column, in one of three forms.

    Attributes:
        form: "number", "truth", "time", "category", "text" or "unusable"; see :class:`~.recognise.Sample`.
        described: The type in words.
        values: Numbers and truth values, float64 (N,), NaN for missing cells.
        texts: Texts and categories, None for missing cells.
        numbers: The cells that are numbers in a column that also has texts, NaN elsewhere, float64 (N,): their decimal
            mark is none of a text.
        micros: Times, int64 (N,): microseconds since 1970, in UTC if there is a zone; NaT is the lowest integer.
        zone: The time zone of the type.
    """

    form: Form
    described: str
    values: FloatArray | None = None
    texts: Sequence[str | None] | None = None
    micros: NDArray[np.int64] | None = None
    zone: str | None = None
    numbers: FloatArray | None = None

    def __len__(self) -> int:
        return len(next(each for each in (self.values, self.texts, self.micros, ()) if each is not None))


def cells_of(column: Any) -> Cells:
    """Return the cells of a numpy array (N,), a pandas or polars Series, or an Arrow column."""
    kind = getattr(column, "type", None)  # Arrow
    if kind is not None and hasattr(column, "to_pylist"):
        return _arrow_cells(column, str(kind), getattr(kind, "tz", None))
    dtype = getattr(column, "dtype", None)
    if hasattr(dtype, "pyarrow_dtype"):  # pandas
        return cells_of(column.array.__arrow_array__())
    name, zone = str(dtype), getattr(dtype, "time_zone", None)  # polars
    if name.startswith(("category", "Categorical", "Enum")):
        return Cells("category", "categories", texts=_texts(column.astype(object) if name == "category" else column))
    if (tz := getattr(dtype, "tz", None)) is not None:  # pandas
        zone, column = _zone_name(tz), column.dt.tz_convert("UTC").dt.tz_localize(None)
    values = _exact(column, name)
    return _numpy_cells(values, name, zone)


def sample_of(cells: Cells, markers: Markers) -> Sample:
    """Return what the type and the first cells show."""
    first = list(cells.texts or ())[:ROWS_TO_RECOGNISE] if cells.form == "text" else []
    if cells.numbers is not None:
        for i in np.flatnonzero(~np.isnan(cells.numbers[: len(first)])):
            first[i] = f"{abs(cells.numbers[i]):.0f}"  # a number that fits every decimal mark
    return Sample(cells.form, cells.described, count_texts(first, markers), cells.zone)


def read_cells(reader: CellReader, name: str, cells: Cells) -> tuple[FloatArray, dict[int, str]]:
    """Return the numbers of a column, and what is wrong with cells that cannot be read: see CellReader.texts."""
    if cells.numbers is not None and cells.texts is not None and isinstance(reader.reading(name), NumberReading):
        known = ~np.isnan(cells.numbers)
        texts = [None if is_number else text for is_number, text in zip(known, cells.texts, strict=True)]
        values, bad = reader.texts(name, texts)
        return np.where(known, reader.markers.without(cells.numbers), values), bad
    if cells.texts is not None:
        return reader.texts(name, cells.texts)
    if cells.micros is not None:
        missing = cells.micros == np.iinfo(np.int64).min
        return reader.times(name, np.where(missing, 0, cells.micros), missing, cells.zone), {}
    if cells.values is not None:
        return reader.numbers(name, cells.values, cells.described), {}
    raise reader.drift(name, cells.described)


def _arrow_cells(column: Any, kind: str, zone: str | None) -> Cells:
    if kind.startswith("dictionary"):
        return Cells("category", "categories", texts=_texts(column.to_pylist()))
    if kind.startswith(
        ("string", "large_string", "string_view", "decimal", "binary", "large_binary", "time32", "time64")
    ):
        return _object_cells(column.to_pylist(), kind)
    if kind == "null":
        return Cells("number", kind, values=np.full(len(column), np.nan))
    if kind.startswith(("int", "uint", "float", "double", "half", "bool", "timestamp", "date", "duration")):
        return _numpy_cells(_exact(column, kind), kind, zone)
    return Cells("unusable", f"{kind} values")


def _exact(column: Any, name: str) -> NDArray[Any]:
    """Return the column as an array; numbers that numpy would round, or does not know, as Python objects."""
    if name in ("Int128", "UInt128") or name.startswith("Decimal"):  # polars
        return _objects(column)
    values = np.asarray(column)
    if name.lower().startswith(("int", "uint")) and values.dtype.kind == "f":  # whole numbers with missing cells
        known = values[~np.isnan(values)]
        if len(known) and np.abs(known).max() >= EXACT_WHOLE:
            return _objects(column)
    return values


def _objects(column: Any) -> NDArray[Any]:
    """Return a column as an array of Python objects."""
    listed = column.to_pylist() if hasattr(column, "to_pylist") else column.to_list()
    values = np.empty(len(listed), dtype=object)
    values[:] = listed
    return values


def _zone_name(zone: tzinfo) -> str:
    """Return the name of a time zone, or its offset if that is always the same, such as "+02:00"."""
    name = getattr(zone, "key", None) or getattr(zone, "zone", None)  # zoneinfo, pytz
    if name is not None:
        return str(name)
    offset = zone.utcoffset(None)
    if offset is None:
        return "UTC"  # the rules of a zone without a name cannot be kept
    minutes = round(offset / timedelta(minutes=1))
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}" if minutes else "UTC"


def _numpy_cells(values: NDArray[Any], described: str, zone: str | None) -> Cells:
    if values.ndim != 1:
        return Cells("unusable", "nested values (lists or objects)")
    match values.dtype.kind:
        case "f":
            return Cells("number", described, values=values.astype(np.float64))
        case "i" | "u":
            if len(values) and (values.max() >= EXACT_WHOLE or values.min() <= -EXACT_WHOLE):
                return Cells("text", described, texts=[str(value) for value in values.tolist()])
            return Cells("number", described, values=values.astype(np.float64))
        case "b":
            return Cells("truth", described, values=values.astype(np.float64))
        case "M":
            return _time_cells(values, described, zone)
        case "m":
            seconds = values.astype("timedelta64[us]").astype(np.float64) / 1e6
            return Cells("number", described, values=np.where(np.isnat(values), np.nan, seconds))
        case "U" | "T":
            return Cells("text", "text", texts=values.tolist())
        case "O" | "S":
            return _object_cells(values.tolist(), described)
        case _:
            return Cells("unusable", f"{described} values")


def _time_cells(values: NDArray[Any], described: str, zone: str | None) -> Cells:
    """Return cells of numpy's times; numpy would wrap those around that are too far from 1970."""
    years = values[~np.isnat(values)].astype("datetime64[Y]").astype(np.int64) + 1970
    if len(years) and not 1 <= years.min() <= years.max() <= _LAST_YEAR:
        return Cells("unusable", f"times outside the years 1 to {_LAST_YEAR}")
    return Cells("time", described, micros=values.astype("datetime64[us]").astype(np.int64), zone=zone)


def _object_cells(cells: Sequence[Any], described: str) -> Cells:
    """Return cells that are Python objects: numbers if all of them are, otherwise texts."""
    known = [value for value in cells if not _is_missing(value)]
    if any(_is_nested(value) for value in known):
        return Cells("unusable", "nested values (lists or objects)")
    if known and all(isinstance(value, (bool, np.bool_)) for value in known):
        return Cells("truth", described, values=_floats(cells))
    if known and all(isinstance(value, (timedelta, np.timedelta64)) for value in known):
        return _numpy_cells(
            np.array([None if _is_missing(each) else each for each in cells], "m8[us]"), described, None
        )
    if all(isinstance(value, _NUMBERS) for value in known) and not any(map(_is_too_large, known)):
        return Cells("number", described, values=_floats(cells))
    odd = next((value for value in known if not isinstance(value, _KNOWN)), None)
    if odd is not None:
        return Cells("unusable", f"{type(odd).__name__} values")
    mixed = [value if isinstance(value, _NUMBERS) and not _is_too_large(value) else None for value in cells]
    return Cells("text", "text", texts=_texts(cells), numbers=_floats(mixed) if any(map(_is_known, mixed)) else None)


_NUMBERS = (numbers.Real, Decimal, np.bool_)
_KNOWN = (str, bytes, *_NUMBERS, date, time, np.datetime64)


def _texts(cells: Iterable[Any]) -> list[str | None]:
    return [None if _is_missing(value) else _text(value) for value in cells]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.datetime64):
        moment = value.item()  # a number for nanoseconds and for years that datetime does not have
        value = value.astype("datetime64[us]").item() if isinstance(moment, int) else moment
    if isinstance(value, (datetime, date, time)):
        return value.isoformat(sep=" ") if isinstance(value, datetime) else value.isoformat()
    if isinstance(value, np.generic):
        value = value.item()
    return repr(value) if isinstance(value, float) else str(value)


def _floats(cells: Sequence[Any]) -> FloatArray:
    return np.array([np.nan if _is_missing(value) else _float(value) for value in cells], dtype=np.float64)


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, Decimal):
        return value.is_nan()
    return isinstance(value, (float, np.floating, np.datetime64, np.timedelta64)) and bool(value != value)


def _is_known(value: Any) -> bool:
    return not _is_missing(value)


def _is_nested(value: Any) -> bool:
    return isinstance(value, (list, tuple, dict, set, frozenset, np.ndarray))


def _is_too_large(value: Any) -> bool:
    """Return whether a value is a whole number that float64 would round."""
    if isinstance(value, Decimal):
        sign_and_digits = value.as_tuple()
        if not (isinstance(sign_and_digits.exponent, int) and sign_and_digits.exponent >= 0):
            return False  # infinite, or written with decimals
        if not _DIGITS_OF_FLOAT <= value.adjusted() <= sys.float_info.max_10_exp:
            return False
    elif not isinstance(value, numbers.Integral):
        return False
    return abs(int(value)) >= EXACT_WHOLE and _float(value) != int(value)
