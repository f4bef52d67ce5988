"""Arrow columns to numbers, as their reading says: whole columns at once where that gives the same numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.arrow.buffers import to_float64
from anomaly_vae.columns.reading.cells import EXACT_WHOLE, CellReader
from anomaly_vae.columns.reading.missing import Markers
from anomaly_vae.columns.reading.numbers import usual_affix, usual_form
from anomaly_vae.columns.reading.recognise import Form, Sample, count_texts
from anomaly_vae.columns.reading.records import NumberReading, TimeReading

__all__ = ["read_column", "sample_column", "texts_of"]

_MICROS_PER_SECOND = 1e6
# Dates, and times that Arrow and :mod:`anomaly_vae.columns.reading.times` read alike.
_ISO = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})?)?$"

# The years 1 to 9999, in microseconds since 1970.
_FIRST_MICROS, _END_MICROS = (float(np.datetime64(year, "us").astype(np.int64)) for year in ("0001", "10000"))


def read_column(reader: CellReader, name: str, column: pa.Array) -> tuple[FloatArray, dict[int, str]]:
    """Return a column (n,) as numbers, and what is wrong with cells that cannot be read: see CellReader.texts.

    Raises:
        InvalidInput: The column held something else in training.
    """
    kind, types = column.type, pa.types
    match _form(kind):
        case "text" | "category":
            return _read_texts(reader, name, column)
        case "time":
            zone = kind.tz if types.is_timestamp(kind) else None
            utc = column.cast(pa.timestamp("us", zone), safe=False).cast(pa.int64())
            micros = to_float64(utc)  # exact until the year 2255
            outside = (micros < _FIRST_MICROS) | (micros >= _END_MICROS)
            missing = np.isnan(micros) | outside
            bad = dict.fromkeys(np.flatnonzero(outside).tolist(), "a time lies outside the years 1 to 9999")
            return reader.times(name, np.where(missing, 0.0, micros).astype(np.int64), missing, zone), bad
        case "unusable":
            raise reader.drift(name, f"{kind} values")
    if types.is_integer(kind) and _is_large(column):
        return _read_texts(reader, name, column.cast(pa.string()))
    if types.is_duration(kind):
        values = to_float64(column.cast(pa.duration("us"), safe=False).cast(pa.int64())) / _MICROS_PER_SECOND
    else:
        values = np.full(len(column), np.nan) if types.is_null(kind) else to_float64(column)
    return reader.numbers(name, values, str(kind)), {}


def sample_column(
    kind: pa.DataType, first: Iterable[pa.Array], markers: Markers, *, may_be_plain: bool = False
) -> Sample:
    """Return what the type and the first cells of a column show.

    Args:
        kind: The type.
        first: The first cells.
        markers: The markers of missing cells.
        may_be_plain: Whether the decimal mark of the table is a point, so that texts that are all plain numbers need no
            closer look.
    """
    form, arrays = _form(kind), list(first)
    if form == "text" and may_be_plain and _is_string(kind) and _are_plain(arrays):
        has_point = any(pc.any(pc.match_substring(cells, ".")).as_py() for cells in arrays)
        return Sample("number", "numbers", decimal="." if has_point else None)
    if form == "text":
        return Sample(form, "text", count_texts((cell for cells in arrays for cell in texts_of(cells)), markers))
    zone = kind.tz if pa.types.is_timestamp(kind) else None
    rounded = pa.types.is_integer(kind) and any(map(_is_rounded, arrays))
    return Sample(form, f"{kind} values" if form == "unusable" else str(kind), {}, zone, rounded)


def texts_of(column: pa.Array) -> list[str | None]:
    """Return a column of texts as Python strings, None for missing cells."""
    if not _is_string(column.type):
        column = column.cast(pa.string())
    texts: list[str | None] = column.to_pylist()
    return texts


def _form(kind: pa.DataType) -> Form:
    types = pa.types
    if types.is_dictionary(kind):
        return "category" if _is_string(kind.value_type) else "unusable"
    if _is_string(kind) or types.is_time(kind):
        return "text"
    if types.is_boolean(kind):
        return "truth"
    if types.is_timestamp(kind) or types.is_date(kind):
        return "time"
    checks = (types.is_integer, types.is_floating, types.is_decimal, types.is_null, types.is_duration)
    return "number" if any(check(kind) for check in checks) else "unusable"


def _is_string(kind: pa.DataType) -> bool:
    types = pa.types
    return any(check(kind) for check in (types.is_string, types.is_large_string, types.is_string_view))


def _read_texts(reader: CellReader, name: str, column: pa.Array) -> tuple[FloatArray, dict[int, str]]:
    """Read texts: all at once if they are numbers, otherwise each different text once."""
    reading = reader.reading(name)
    if isinstance(reading, NumberReading) and not pa.types.is_dictionary(column.type):
        numbers = _numbers(column, reading)
        if numbers is not None and not (np.abs(numbers) >= EXACT_WHOLE).any():
            return reader.markers.without(numbers), {}
    if isinstance(reading, TimeReading) and (found := _times(column, reading)) is not None:
        return reader.times(name, *found), {}
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not _is_string(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    encoded = pc.dictionary_encode(column, null_encoding="encode")
    distinct: list[str | None] = encoded.dictionary.to_pylist()
    if len(encoded) == 0:
        return np.empty(0), {}
    places = np.frombuffer(encoded.indices.buffers()[1], np.int32)[encoded.offset : encoded.offset + len(encoded)]
    values, bad = reader.texts(name, distinct)
    if not bad:
        return values[places], {}
    return values[places], {int(i): bad[int(places[i])] for i in np.flatnonzero(np.isin(places, list(bad)))}


def _numbers(column: pa.Array, reading: NumberReading) -> FloatArray | None:
    """Return the numbers of a column of texts if all of them have one usual form, else None."""
    if reading.thousands or reading.affixes:
        if not pc.all(pc.match_substring_regex(column, usual_form(reading))).as_py():
            return None
        column = pc.replace_substring_regex(column, usual_affix(reading), "")
        column = pc.replace_substring(column, reading.thousands, "") if reading.thousands else column
    elif reading.decimal == "," and pc.any(pc.match_substring(column, ".")).as_py():
        return None
    try:
        return to_float64(pc.replace_substring(column, ",", ".") if reading.decimal == "," else column)
    except pa.ArrowInvalid:
        return None


def _times(column: pa.Array, reading: TimeReading) -> tuple[NDArray[np.int64], NDArray[np.bool_], str | None] | None:
    """Return the times of a column of texts if all of them are ISO 8601 with seconds or without a time, else None."""
    if reading.order != "ymd" or not pc.all(pc.match_substring_regex(column, _ISO)).as_py():
        return None
    if pc.any(pc.starts_with(column, "0000")).as_py():  # Arrow has a year 0
        return None
    for zone in (None, "UTC"):
        try:
            micros = to_float64(column.cast(pa.timestamp("us", zone)).cast(pa.int64()))  # exact until the year 2255
        except pa.ArrowInvalid:
            continue
        if zone is not None and reading.zone is None:
            return None
        missing = np.isnan(micros)
        return np.where(missing, 0.0, micros).astype(np.int64), missing, zone
    return None


def _are_plain(arrays: Sequence[pa.Array]) -> bool:
    """Return whether all cells are plain numbers of which none may be a name: no leading zeros, not too large."""
    num_numbers = 0
    for column in arrays:
        values = _numbers(column, NumberReading())
        if values is None or (np.abs(values) >= EXACT_WHOLE).any():
            return False
        if pc.any(pc.match_substring_regex(column, r"^\s*[+-]?0[0-9]")).as_py():
            return False
        num_numbers += int((~np.isnan(values)).sum())
    return num_numbers > 0


def _is_large(column: pa.Array) -> bool:
    """Return whether float64 may round a whole number of the column."""
    if column.type.bit_width < 64:
        return False
    limits = pc.min_max(column)
    low, high = limits["min"].as_py(), limits["max"].as_py()
    return low is not None and (low <= -EXACT_WHOLE or high >= EXACT_WHOLE)


def _is_rounded(column: pa.Array) -> bool:
    return _is_large(column) and any(int(float(value)) != value for value in column.drop_null().to_pylist())
