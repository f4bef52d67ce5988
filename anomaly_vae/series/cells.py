"""The columns of a table that hold times and names of series."""

from __future__ import annotations

import re

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.reading.cells import CellReader
from anomaly_vae.columns.reading.codes import CodeBook
from anomaly_vae.columns.reading.frames import Cells
from anomaly_vae.columns.reading.missing import Markers, text_of
from anomaly_vae.columns.reading.recognise import count_texts
from anomaly_vae.columns.reading.records import Input, Reading, TimeReading
from anomaly_vae.columns.reading.times import time_format
from anomaly_vae.errors import InvalidInput
from anomaly_vae.series.clock import epoch_seconds

__all__ = ["names_of", "numbers_of_texts", "seconds_of", "whole_or_real"]

_PLAIN_NUMBER = re.compile(r"[+-]?[0-9]{1,20}(\.[0-9]{0,20})?([eE][+-]?[0-9]{1,2})?")

_MICROS_PER_SECOND = 1e6


def seconds_of(name: str, cells: Cells, reading: Reading | None, markers: Markers) -> FloatArray:
    """Return a column of times as seconds, NaN for cells that hold none: see :func:`~.clock.to_seconds`."""
    if cells.micros is not None:
        return np.where(cells.micros == np.iinfo(np.int64).min, np.nan, cells.micros / _MICROS_PER_SECOND)
    if (numbers := whole_or_real(cells)) is not None:
        return epoch_seconds(markers.without(numbers))
    if cells.texts is None:
        raise InvalidInput(f"column {name!r} holds {cells.described}, expected dates and times", field=name)
    found: Reading | str | None = reading
    if not isinstance(reading, TimeReading):
        found = time_format(count_texts(cells.texts, markers))
    if not isinstance(found, TimeReading) and (numbers := numbers_of_texts(cells, markers)) is not None:
        return epoch_seconds(numbers)
    if not isinstance(found, TimeReading):
        example = next((text for text in cells.texts if text is not None), None)
        why = found if isinstance(found, str) else f"holds {example!r}, expected dates and times"
        raise InvalidInput(f"column {name!r} {why}", field=name)
    # In UTC also where training found another zone or none: only differences of times count, and local clocks jump.
    absolute = Input(name=name, reading=TimeReading(order=found.order, zone="UTC"))
    micros, bad = CellReader([absolute], CodeBook(), markers).texts(name, cells.texts)
    if bad and np.isnan(micros).all():
        raise InvalidInput(f"column {name!r}: {next(iter(bad.values()))}", field=name)
    return micros / _MICROS_PER_SECOND


def whole_or_real(cells: Cells) -> FloatArray | None:
    """Return a column of numbers, also of whole ones beyond 2^53, such as nanoseconds since 1970; None for others."""
    if cells.form == "number":
        return cells.values
    if cells.form == "text" and cells.described.lower().startswith(("int", "uint")) and cells.texts is not None:
        return np.array([np.nan if text is None else float(text) for text in cells.texts])
    return None


def numbers_of_texts(cells: Cells, markers: Markers) -> FloatArray | None:
    """Return a column of texts that are all plain numbers, such as times since 1970 in a CSV file; None for others."""
    if cells.texts is None or cells.form != "text":
        return None
    texts = [None if text is None or markers.in_texts(text.strip()) else text.strip() for text in cells.texts]
    if not any(texts) or not all(_PLAIN_NUMBER.fullmatch(text) for text in texts if text):
        return None
    return np.array([float(text) if text else np.nan for text in texts])


def names_of(name: str, cells: Cells, markers: Markers) -> list[str | None]:
    """Return the names of series, one per row."""
    if cells.texts is not None:
        return [None if text is None or markers.in_texts(text.strip()) else text_of(text) for text in cells.texts]
    if cells.values is not None:
        known, inverse = np.unique(markers.without(cells.values), return_inverse=True)
        texts = [text_of(value) for value in known.tolist()]
        return [texts[i] for i in inverse.tolist()]
    raise InvalidInput(f"column {name!r} holds {cells.described}, expected the names of series", field=name)
