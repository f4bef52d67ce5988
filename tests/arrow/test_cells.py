"""Arrow columns become numbers, whole columns at once or cell by cell, with the same result."""

from __future__ import annotations

import datetime
import decimal
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_vae.arrow.cells import read_column, sample_column, texts_of
from anomaly_vae.columns.reading.missing import Markers
from anomaly_vae.columns.reading.records import NumberReading, TextReading, TimeReading
from anomaly_vae.errors import InvalidInput
from tests.support.tables import reader_of

BAD = "(?)"  # sends a column to the conversion cell by cell
MIDNIGHT = datetime.datetime(2024, 1, 31)
MICROS = 1_706_659_200_000_000.0


def numbers(*cells, kind=None, reading=None, markers=()):
    reader = reader_of(a=reading or NumberReading(), markers=markers)
    return read_column(reader, "a", pa.array(cells, kind or pa.string()))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=8))
def test_one_bad_cell_does_not_change_the_numbers_beside_it(values):
    """With it, Python parses each cell; without it, Arrow parses the column: both give the float that was written."""
    cells = [repr(value) for value in values]
    whole, none_bad = numbers(*cells)
    single, bad = numbers(BAD, *cells)
    np.testing.assert_array_equal(single[1:], whole)
    assert none_bad == {}
    assert (bad, math.isnan(single[0])) == ({0: "'(?)' is not a number"}, True)
    exact = [abs(value) < 2**53 for value in values]
    np.testing.assert_array_equal(whole[exact], np.array(values)[exact])


@pytest.mark.parametrize("cell", [None, "", "  ", "NA", "n/a", "NaN", "null", "None", "-", "?", "unknown", "<NA>"])
def test_missing_cells_are_nan_and_no_faults(cell):
    values, bad = numbers("1", cell, BAD)
    np.testing.assert_array_equal(values, [1.0, np.nan, np.nan])
    assert list(bad) == [2]


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("1_000", "'1_000' is not a number"),
        (" x ", "'x' is not a number"),
        ("1,5", "'1,5' is not a number"),
        ("0x10", "'0x10' is not a number"),
        ("x" * 99, f"'{'x' * 40}' is not a number"),
        (str(2**53 + 1), f"'{2**53 + 1}' is a whole number beyond 2^53, which float64 would round"),
    ],
)
def test_a_cell_that_is_no_number_is_returned_by_its_position(cell, text):
    """Python would read 1_000 as 1000."""
    values, bad = numbers("2", cell)
    assert bad == {1: text}
    np.testing.assert_array_equal(values, [2.0, np.nan])


def test_a_slice_of_a_column_is_read_at_its_own_place():
    """Arrow shares the buffers of a slice with the whole column."""
    reader = reader_of("a", texts={"city": ("x", "y")})
    np.testing.assert_array_equal(read_column(reader, "a", pa.array(["1", "2", "3", "4"]).slice(1, 2))[0], [2, 3])
    cities = pa.array(["x", "y", "x", None]).slice(1, 3)
    np.testing.assert_array_equal(read_column(reader, "city", cities)[0], [1, 0, np.nan])
    np.testing.assert_array_equal(read_column(reader, "a", pa.array([1, 2, 3]).slice(1))[0], [2, 3])
    assert len(read_column(reader, "city", pa.array([], pa.string()))[0]) == 0


@pytest.mark.parametrize(
    ("cells", "reading", "values"),
    [
        (["1,5", "2", "-,5"], NumberReading(decimal=","), [1.5, 2, -0.5]),
        (["1.234,5", "2"], NumberReading(decimal=",", thousands="."), [1234.5, 2]),
        (["$1,200.50", "($3)"], NumberReading(thousands=",", affixes=("$", "()")), [1200.5, -3]),
        (["12 %", "3%"], NumberReading(affixes=("%",)), [12, 3]),
        (["true", "False", "1"], NumberReading(truth=True), [1, 0, 1]),
    ],
)
def test_numbers_as_people_write_them_are_read_as_training_found_them(cells, reading, values):
    found, bad = numbers(*cells, reading=reading)
    np.testing.assert_array_equal(found, values)
    assert bad == {}


@pytest.mark.parametrize(
    ("kind", "cells", "values"),
    [
        (pa.float32(), [0.5, None], [0.5, np.nan]),
        (pa.int8(), [-1, None], [-1, np.nan]),
        (pa.uint64(), [7, None], [7, np.nan]),
        (pa.bool_(), [True, False], [1, 0]),
        (pa.null(), [None, None], [np.nan, np.nan]),
        (pa.duration("ms"), [1500, None], [1.5, np.nan]),
        (pa.decimal128(21, 2), [decimal.Decimal("1.25"), None], [1.25, np.nan]),
    ],
)
def test_types_with_numbers_are_numbers(kind, cells, values):
    """Durations are seconds."""
    np.testing.assert_array_equal(numbers(*cells, kind=kind)[0], values)


def test_markers_hold_for_numbers_of_any_type():
    for kind, cells in ((pa.string(), ["1", "9999"]), (pa.int64(), [1, 9999]), (pa.float64(), [1.0, 9999.0])):
        np.testing.assert_array_equal(numbers(*cells, kind=kind, markers=("9999",))[0], [1, np.nan])


def test_large_whole_numbers_are_not_rounded_in_silence():
    values, bad = numbers(2**53 + 1, 2**54, 3, kind=pa.int64())
    assert bad == {0: f"'{2**53 + 1}' is a whole number beyond 2^53, which float64 would round"}
    np.testing.assert_array_equal(values[1:], [2.0**54, 3])


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["b", None, "a", "z"]),
        pa.array(["b", None, "a", "z"], pa.large_string()),
        pa.array(["b", None, "a", "z"], pa.string_view()),
        pa.array(["b", None, "a", "z"]).dictionary_encode(),
    ],
    ids=["string", "large", "view", "dictionary"],
)
def test_every_type_of_text_gives_the_same_codes(column):
    """A text that is not a category becomes -1, which the model treats as novel."""
    values, bad = read_column(reader_of(texts={"a": ("a", "b")}), "a", column)
    np.testing.assert_array_equal(values, [1, np.nan, 0, -1])
    assert bad == {}


@pytest.mark.parametrize(
    ("column", "zone"),
    [
        (pa.array([MIDNIGHT, None]), None),
        (pa.array([MIDNIGHT, None]).cast(pa.timestamp("s")), None),
        (pa.array([MIDNIGHT.date(), None]), None),
        (pa.array(["2024-01-31", None]), None),
        (pa.array([MIDNIGHT, None], pa.timestamp("us", "UTC")), "UTC"),
        (pa.array(["2024-01-30T19:00:00-05:00", ""]), "UTC"),
    ],
    ids=["timestamp", "seconds", "date", "text", "zone", "offset"],
)
def test_times_are_microseconds_of_the_wall_clock(column, zone):
    values, bad = read_column(reader_of(a=TimeReading(zone=zone)), "a", column)
    np.testing.assert_array_equal(values, [MICROS, np.nan])
    assert bad == {}


@pytest.mark.parametrize(
    ("column", "reading", "message"),
    [
        (pa.array([1]), TimeReading(), r"column 'a' holds numbers \(int64\), expected dates and times as in training"),
        (pa.array([MIDNIGHT]), NumberReading(), "holds dates and times, expected numbers as in training"),
        (pa.array([MIDNIGHT]), TimeReading(order="clock"), "holds dates, expected dates and times as in training"),
        (pa.array([1.5]), TextReading(), r"holds numbers \(double\), expected text as in training"),
        (pa.array([[1]]), NumberReading(), "holds list<item: int64> values, expected numbers as in training"),
        (pa.array([b"x"]), TextReading(), "holds binary values, expected text as in training"),
        (
            pa.array([MIDNIGHT], pa.timestamp("us", "Europe/Oslo")),
            TimeReading(),
            "holds times in the time zone Europe/Oslo, expected times without a time zone as in training",
        ),
    ],
)
def test_a_column_of_another_type_than_in_training_is_refused_by_name(column, reading, message):
    with pytest.raises(InvalidInput, match=message) as error:
        read_column(reader_of(texts={"a": ("x",)}, a=reading), "a", column)
    assert error.value.field == "a"
    assert "train again" in str(error.value)


def test_numbers_are_read_as_categories_that_look_like_numbers():
    """Training on CSV with codes 1, 2, 3 set to categorical, and scoring Parquet with integers, is one table."""
    values, _ = read_column(reader_of(texts={"a": ("1", "2", "x")}), "a", pa.array([2.0, 1.0, None, 7.0]))
    np.testing.assert_array_equal(values, [1, 0, np.nan, -1])


@pytest.mark.parametrize(
    ("column", "form", "described"),
    [
        (pa.array(["1", " 1", None, "-", "x"]), "text", "text"),
        (pa.array([1, None]), "number", "int64"),
        (pa.array([True]), "truth", "bool"),
        (pa.array([MIDNIGHT]), "time", "timestamp[us]"),
        (pa.array([MIDNIGHT.date()]), "time", "date32[day]"),
        (pa.array(["a"]).dictionary_encode(), "category", "dictionary<values=string, indices=int32, ordered=0>"),
        (pa.array([{"x": 1}]), "unusable", "struct<x: int64> values"),
        (pa.array([b"x"]), "unusable", "binary values"),
        (pa.array([1]).dictionary_encode(), "unusable", "dictionary<values=int64, indices=int32, ordered=0> values"),
    ],
)
def test_a_sample_says_what_the_type_and_the_first_cells_show(column, form, described):
    sample = sample_column(column.type, [column], Markers())
    assert (sample.form, sample.described) == (form, described)
    assert dict(sample.texts) == ({"1": 2, "x": 1} if form == "text" else {})


def test_a_sample_knows_zones_and_numbers_that_would_be_rounded():
    zoned = pa.array([MIDNIGHT], pa.timestamp("us", "Europe/Oslo"))
    assert sample_column(zoned.type, [zoned], Markers()).zone == "Europe/Oslo"
    for value, is_rounded in ((2**53 + 1, True), (2**60, False), (7, False)):
        column = pa.array([value, None])
        assert sample_column(column.type, [column], Markers()).is_rounded is is_rounded


def test_times_of_day_are_texts():
    assert texts_of(pa.array([datetime.time(7, 30), None])) == ["07:30:00.000000", None]
    reader = reader_of(a=TimeReading(order="clock"))
    np.testing.assert_array_equal(read_column(reader, "a", pa.array([datetime.time(7, 30)]))[0], [7.5 * 3.6e9])


def test_a_column_without_a_single_value_is_no_drift_whatever_its_type():
    """pandas gives a column of a day without values the type null, or float."""
    for kind in (pa.null(), pa.float64(), pa.int64(), pa.string(), pa.timestamp("us"), pa.timestamp("us", "UTC")):
        for reading in (NumberReading(), TextReading(), TimeReading(), TimeReading(order="clock")):
            values, bad = read_column(reader_of(texts={"a": ("x",)}, a=reading), "a", pa.nulls(3, kind))
            assert np.isnan(values).all()
            assert bad == {}


def test_a_year_that_no_calendar_has_is_no_date_alone_or_beside_others():
    """Arrow alone would read it."""
    reader = reader_of(a=TimeReading(parts=("trend",)))
    for cells in (["0000-01-01"], ["0000-01-01", "soon"]):
        values, bad = read_column(reader, "a", pa.array(cells))
        assert np.isnan(values).all()
        assert bad[0] == "'0000-01-01' is not a date or time"


def test_times_outside_the_years_1_to_9999_are_faults():
    reader = reader_of(a=TimeReading(parts=("trend",)))
    seconds = [-62_135_596_801, -62_135_596_800, 253_402_300_799, 253_402_300_800, None]
    values, bad = read_column(reader, "a", pa.array(seconds, pa.timestamp("s")))
    np.testing.assert_array_equal(np.isnan(values), [True, False, False, True, True])
    assert bad == dict.fromkeys((0, 3), "a time lies outside the years 1 to 9999")
