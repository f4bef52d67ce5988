"""The columns of a training table in words: how a model reads them, and which it leaves out."""

from __future__ import annotations

from anomaly_vae.columns.reading.records import Input, LeftOut, NumberReading, TimeReading
from anomaly_vae.columns.schema import Schema
from anomaly_vae.columns.shapes import SeriesShape

__all__ = ["how_inputs_are_read"]

_ORDERS = {"ymd": "year-month-day", "dmy": "day.month.year", "mdy": "month/day/year", "clock": "times of day"}


def how_inputs_are_read(schema: Schema) -> dict[str, str]:
    """Return how each column is read, in words, by its name; plain numbers and texts are not listed."""
    inputs = schema.shape.inputs if isinstance(schema.shape, SeriesShape) else schema.inputs
    found = {each.name: _words(each) for each in inputs}
    return {name: text for name, text in found.items() if text}


def _words(each: Input) -> str:
    reading = each.reading
    if isinstance(reading, LeftOut):
        return f"left out: {reading.why}"
    if isinstance(reading, TimeReading):
        zone = f" in {reading.zone}" if reading.zone else ""
        parts = ", ".join(part.replace("_", " ") for part in reading.parts)
        return f"{_ORDERS[reading.order]}{zone}" + (f": {parts}" if parts else "")
    if not isinstance(reading, NumberReading) or reading.is_plain:
        return ""
    if reading.truth:
        return "true and false are 1 and 0"
    thousands = f", thousands mark {reading.thousands!r}" if reading.thousands else ""
    around = f", without {' '.join(reading.affixes)}" if reading.affixes else ""
    return f"numbers, decimal mark {reading.decimal!r}{thousands}{around}"
