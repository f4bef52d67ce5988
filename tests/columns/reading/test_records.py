"""How input columns are read, as the manifest keeps it."""

from __future__ import annotations

import msgspec
import pytest

from anomaly_vae.columns.reading.records import Input, LeftOut, NumberReading, Reading, TextReading, TimeReading

READINGS = (
    NumberReading(),
    NumberReading(decimal=",", thousands=".", affixes=("€",), truth=True),
    TextReading(),
    TimeReading(order="dmy", zone="Europe/Oslo", parts=("time_of_day", "trend")),
    LeftOut(why="is empty"),
)


@pytest.mark.parametrize("reading", READINGS)
def test_a_reading_survives_json(reading):
    each = Input(name="a", reading=reading)
    assert msgspec.json.decode(msgspec.json.encode(each), type=Input) == each


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "picture"},
        {"kind": "number", "decimal": ";"},
        {"kind": "number", "thousands": "x"},
        {"kind": "number", "affixes": ["123456789"]},
        {"kind": "number", "affixes": [""]},
        {"kind": "number", "affixes": ["$"] * 17},
        {"kind": "time", "parts": ["hour"]},
        {"kind": "time", "parts": ["trend"] * 6},
        {"kind": "time", "order": "ydm"},
        {"kind": "time", "zone": "../../etc/passwd"},
        {"kind": "time", "zone": ""},
        {"kind": "time", "zone": "A" * 65},
        {"kind": "text", "truth": True},
        {"kind": "left out"},
    ],
)
def test_a_reading_out_of_range_is_refused(fields):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(fields, Reading)


def test_a_time_gives_one_column_for_each_part_and_others_give_themselves():
    columns = [Input(name="a", reading=reading).columns for reading in READINGS]
    assert columns == [("a",), ("a",), ("a",), ("a.time_of_day", "a.trend"), ()]
    assert [Input(name="a", reading=reading).is_read for reading in READINGS] == [True, True, True, True, False]


def test_only_the_default_format_is_plain():
    assert NumberReading().is_plain
    assert not NumberReading(truth=True).is_plain
    assert not NumberReading(affixes=("$",)).is_plain
