"""How a model reads its columns, in words."""

from __future__ import annotations

from anomaly_vae.cli.inputs import how_inputs_are_read
from anomaly_vae.columns.reading.records import Input, LeftOut, NumberReading, TextReading, TimeReading
from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.columns.shapes import SeriesShape

READINGS = {
    "plain": NumberReading(),
    "town": TextReading(),
    "ok": NumberReading(truth=True),
    "paid": NumberReading(decimal=",", thousands=".", affixes=("EUR",)),
    "share": NumberReading(affixes=("%",)),
    "when": TimeReading(order="dmy", zone="Europe/Oslo", parts=("time_of_day", "day_of_week")),
    "at": TimeReading(order="clock", parts=("time_of_day",)),
    "id": LeftOut(why="row number"),
}


def test_what_is_not_plain_is_said():
    inputs = tuple(Input(name=name, reading=reading) for name, reading in READINGS.items())
    schema = Schema(columns=(Column(name="plain", kind="continuous"),), inputs=inputs)
    assert how_inputs_are_read(schema) == {
        "ok": "true and false are 1 and 0",
        "paid": "numbers, decimal mark ',', thousands mark '.', without EUR",
        "share": "numbers, decimal mark '.', without %",
        "when": "day.month.year in Europe/Oslo: time of day, day of week",
        "at": "times of day: time of day",
        "id": "left out: row number",
    }


def test_a_model_of_plain_columns_has_nothing_to_say():
    assert how_inputs_are_read(Schema(columns=(Column(name="x", kind="continuous"),))) == {}


def test_the_times_of_series_have_no_parts():
    shape = SeriesShape(
        length=2,
        channels=("x",),
        timestamp="when",
        inputs=(
            Input(name="when", reading=TimeReading(order="dmy", zone="UTC")),
            Input(name="x", reading=NumberReading(decimal=",")),
        ),
    )
    schema = Schema(columns=(), shape=shape)
    assert how_inputs_are_read(schema) == {"when": "day.month.year in UTC", "x": "numbers, decimal mark ','"}
