"""The cells of a column to numbers, for texts, numbers and times alike."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from anomaly_vae.columns.reading.cells import CellReader, expand
from anomaly_vae.columns.reading.codes import CodeBook
from anomaly_vae.columns.reading.missing import Markers
from anomaly_vae.columns.reading.records import Input, NumberReading, TextReading, TimeReading
from anomaly_vae.errors import InvalidInput

READINGS = [
    NumberReading(),
    NumberReading(truth=True),
    NumberReading(decimal=",", thousands=".", affixes=("€", "()")),
    TextReading(),
    TimeReading(parts=("trend",)),
    TimeReading(order="dmy", zone="Europe/Oslo", parts=("trend",)),
    TimeReading(order="clock", parts=("time_of_day",)),
]


def reader(reading, *, markers=(), categories=None, grows=False):
    book = CodeBook({"a": categories or ("Oslo", "Rome", "3")}, grows=grows)
    return CellReader([Input(name="a", reading=reading)], book, Markers(markers))


@given(st.sampled_from(READINGS), st.lists(st.none() | st.text(max_size=20), max_size=5))
@example(NumberReading(), ["9" * 400, "9" * 5000, "\ud800", "\x00", "1" + "0" * 309])
@example(TimeReading(zone="UTC", parts=("trend",)), ["0001-01-01 00:00+23:59", "9999-12-31 23:59-23:59"])
def test_any_text_is_a_number_a_missing_cell_or_a_named_fault(reading, texts):
    values, bad = reader(reading).texts("a", texts)
    assert values.shape == (len(texts),)
    assert values.dtype == np.float64
    assert set(bad) <= set(range(len(texts)))
    for i, fault in bad.items():
        assert texts[i] is not None
        assert np.isnan(values[i])
        assert fault.startswith(repr(texts[i].strip()[:40])[0])


@given(
    st.sampled_from(READINGS),
    st.lists(st.sampled_from(["1", "x", "NA", "2024-01-01", "13:45", "1.234,5 €", ""]), min_size=1),
)
def test_a_cell_is_read_the_same_alone_and_among_others(reading, texts):
    together, _ = reader(reading).texts("a", texts)
    alone = [reader(reading).texts("a", [text])[0][0] for text in texts]
    np.testing.assert_array_equal(together, alone)


def test_categories_that_come_as_numbers_have_the_codes_of_their_texts():
    each = reader(TextReading())
    np.testing.assert_array_equal(each.numbers("a", np.array([3.0, np.nan, 4.0]), "float64"), [2, np.nan, -1])
    np.testing.assert_array_equal(each.texts("a", ["3", None, "3.0", "Oslo", " Rome "])[0], [2, np.nan, 2, 0, 1])


def test_numbers_do_not_fit_categories_that_are_no_numbers():
    with pytest.raises(InvalidInput, match=r"column 'a' holds numbers \(float64\), expected text as in training"):
        reader(TextReading(), categories=("Oslo", "03")).numbers("a", np.array([3.0]), "float64")


def test_numbers_do_not_fit_times_and_times_do_not_fit_numbers():
    times, missing = np.array([0]), np.array([False])
    with pytest.raises(InvalidInput, match=r"holds numbers \(int64\), expected dates and times") as caught:
        reader(TimeReading(parts=("trend",))).numbers("a", np.array([3.0]), "int64")
    assert caught.value.field == "a"
    with pytest.raises(InvalidInput, match="holds dates and times, expected numbers"):
        reader(NumberReading()).times("a", times, missing, None)
    with pytest.raises(InvalidInput, match="holds dates, expected dates and times"):
        reader(TimeReading(order="clock", parts=("time_of_day",))).times("a", times, missing, None)
    with pytest.raises(InvalidInput, match="in the time zone UTC, expected times without a time zone"):
        reader(TimeReading(parts=("trend",))).times("a", times, missing, "UTC")


def test_times_as_categories_have_the_texts_of_datetime():
    each = reader(TextReading(), grows=True)
    moments = [datetime(2024, 1, 2), datetime(2024, 1, 2, 3, 4, 5, 600)]
    values = np.array(moments, "M8[us]").astype(np.int64)
    each.times("a", values, np.array([False, False]), None)
    np.testing.assert_array_equal(each.times("a", values, np.array([True, False]), None), [np.nan, 4.0])
    assert each.book.categories["a"][3:] == tuple(str(moment) for moment in moments)


def test_markers_of_the_user_are_missing_in_texts_and_numbers():
    each = reader(NumberReading(decimal=","), markers=("-999", "gone"))
    np.testing.assert_array_equal(each.texts("a", ["-999,0", "Gone", "1,5"])[0], [np.nan, np.nan, 1.5])
    np.testing.assert_array_equal(each.numbers("a", np.array([-999.0, 1.5]), "float64"), [np.nan, 1.5])
    more = each.with_markers(["7"])
    np.testing.assert_array_equal(more.texts("a", ["7", "-999"])[0], [np.nan, np.nan])
    assert each.with_markers([]) is each


def test_the_decimal_mark_of_a_file_may_differ_from_training():
    trained = reader(NumberReading(decimal=",", thousands="."))
    assert trained.texts("a", ["1.234,5"])[0] == 1234.5
    other = trained.with_decimals({"a": {"1,234.5": 1}}, {})
    assert other.texts("a", ["1,234.5"])[0] == 1234.5
    assert trained.with_decimals({}, {}).reading("a") == trained.reading("a")
    assert trained.with_decimals({}, {"a": "."}).texts("a", ["1.5"])[0] == 1.5
    assert trained.with_decimals({"a": {"2,50": 1}}, {"a": "."}).texts("a", ["1.5"])[0] == 1.5, "the user named it"


def test_faults_are_short_and_name_the_cell():
    _, bad = reader(NumberReading()).texts("a", ["x" * 1000, "9007199254740993", "1"])
    assert bad[0] == f"'{'x' * 40}' is not a number"
    assert bad[1] == "'9007199254740993' is a whole number beyond 2^53, which float64 would round"
    assert reader(TimeReading(parts=("trend",))).texts("a", ["soon"])[1] == {0: "'soon' is not a date or time"}


def test_a_machine_without_the_zone_says_so_and_does_not_blame_the_cell():
    each = reader(TimeReading(zone="Nowhere/City", parts=("trend",)))
    with pytest.raises(InvalidInput, match="there is no time zone 'Nowhere/City' on this machine; install the package"):
        each.texts("a", ["2024-01-01 12:00Z"])


def test_times_are_split_into_their_parts_between_the_other_columns():
    inputs = [
        Input(name="x", reading=NumberReading()),
        Input(name="when", reading=TimeReading(parts=("time_of_day", "day_of_week"))),
        Input(name="y", reading=NumberReading()),
    ]
    monday_at_six = np.datetime64("2024-01-01T06:00", "us").astype(np.int64)
    cells = np.array([[1.0, monday_at_six, 2.0], [3.0, np.nan, np.nan]])
    np.testing.assert_array_equal(expand(cells, inputs), [[1.0, 6.0, 0.0, 2.0], [3.0, np.nan, np.nan, np.nan]])
    assert expand(cells[:0], inputs).shape == (0, 4)
    plain = cells[:, [0, 2]]
    assert expand(plain, [inputs[0], inputs[2]]) is plain
