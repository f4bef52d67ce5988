"""Arrays and DataFrames to series."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from anomaly_vae.columns.reading.records import Input, NumberReading, TextReading, TimeReading
from anomaly_vae.columns.shapes import SeriesShape
from anomaly_vae.errors import InvalidInput
from anomaly_vae.series.tables import Roles, to_panel, to_training_panel

FRAME = pd.DataFrame(
    {
        "load": [1.0, 2.0, np.nan, 4.0],
        "at": pd.to_datetime(["2024-01-31 12:00", "2024-01-31 12:01", "2024-01-31 12:00", "2024-01-31 12:01"]),
        "host": ["a", "a", "b", "b"],
        "flow": [10, 20, 30, 40],
    }
)


@pytest.mark.parametrize(
    "make", [lambda f: f, pl.from_pandas, pa.Table.from_pandas, lambda f: pl.from_pandas(f).lazy()]
)
def test_the_columns_find_their_roles(make):
    """The times are found by their type; the name of the series is given."""
    found = to_training_panel(make(FRAME), series="host")
    assert found.roles == Roles("at", "host", ("load", "flow"))
    assert [type(each.reading) for each in found.inputs] == [NumberReading, TimeReading, TextReading, NumberReading]
    assert found.panel.step_seconds == 60.0
    assert [series.name for series in found.panel.series] == ["a", "b"]
    np.testing.assert_array_equal(found.panel.values, [[1, 10], [2, 20], [np.nan, 30], [4, 40]])
    shape = found.shape(16, stride=4)
    assert (shape.length, shape.stride, shape.step_seconds) == (16, 4, 60.0)
    assert (shape.timestamp, shape.series, shape.channels) == ("at", "host", ("load", "flow"))
    again = to_panel(make(FRAME[["flow", "host", "load", "at"]]), shape)
    np.testing.assert_array_equal(again.values, found.panel.values)
    assert [s.rows.tolist() for s in again.series] == [s.rows.tolist() for s in found.panel.series]


@pytest.mark.parametrize("data", [np.arange(5.0), np.arange(5.0)[:, None], list(range(5)), np.arange(5).astype(object)])
def test_an_array_has_one_step_per_row(data):
    found = to_training_panel(data)
    assert found.roles == Roles(None, None, ("x0",))
    assert (found.panel.step_seconds, found.inputs) == (None, ())
    np.testing.assert_array_equal(found.panel.values[:, 0], np.arange(5.0))
    np.testing.assert_array_equal(to_panel(data, found.shape(2)).values, found.panel.values)


def test_masked_and_marked_cells_are_missing():
    data = np.ma.masked_equal(np.array([[1.0, -1.0], [2.0, 9.0]]), -1.0)
    values = to_training_panel(data, missing_values=["9"]).panel.values
    np.testing.assert_array_equal(np.isnan(values), [[False, True], [False, True]])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((2, 2, 2)), r"expected an array \(steps,\) or \(steps, channels\), got shape \(2, 2, 2\)"),
        (np.zeros((2, 0)), r"got shape \(2, 0\)"),
        (np.array(["a"]), "holds <U1 values, expected numbers"),
        (np.array(["a"], dtype=object), "a value that is no number"),
        (np.array([1.0, np.inf]), "row 1, column 'x0' is inf"),
    ],
)
def test_other_arrays_are_refused(data, message):
    with pytest.raises(InvalidInput, match=message):
        to_training_panel(data)


def test_a_model_says_what_it_needs():
    shape = SeriesShape(length=4, channels=("a", "b"))
    with pytest.raises(InvalidInput, match="the array has 1 channels, expected 2: 'a', 'b'"):
        to_panel(np.zeros(9), shape)
    with pytest.raises(InvalidInput, match="the model reads times from column 't', an array has no names"):
        to_panel(np.zeros((9, 2)), SeriesShape(length=4, channels=("a", "b"), timestamp="t", step_seconds=1.0))
    with pytest.raises(InvalidInput, match="1 of the model's 2 columns are missing: 'b'"):
        to_panel(pd.DataFrame({"a": [1.0]}), shape)
    with pytest.raises(InvalidInput, match="column 'b' holds text such as 'x', expected numbers as in training"):
        to_panel(pd.DataFrame({"a": [1.0], "b": ["x"]}), shape)


def test_messages_have_the_numbers_of_the_rows():
    """Of rows that come from a file in which others have faults."""
    numbers = np.array([3, 5, 8, 9])
    with pytest.raises(InvalidInput, match="rows 3 and 8 have the same time"):
        to_training_panel(FRAME, leave_out=["host"], numbers=numbers)
    shape = SeriesShape(length=4, channels=("load",), timestamp="at", step_seconds=60.0)
    with pytest.raises(InvalidInput, match="rows 3 and 8 have the same time"):
        to_panel(FRAME, shape, numbers=numbers)


def test_the_step_of_the_model_is_expected():
    shape = to_training_panel(FRAME, series="host").shape(4)
    times = pd.date_range("2024-01-31", periods=20, freq="5min")
    data = pd.DataFrame({"load": 1.0, "flow": 1.0, "host": "a", "at": times})
    with pytest.raises(InvalidInput, match="are 5 min apart, the model's windows have a step of 1 min"):
        to_panel(data, shape)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "column 'host' holds text, channels of series are numbers; .*series='host'.* leave it out"),
        ({"series": "hots"}, "series: there is no column 'hots'; the columns are 'load', 'at', 'host', 'flow'"),
        ({"series": "host", "leave_out": ["lad"]}, "leave_out: there is no column 'lad'"),
        ({"series": "host", "leave_out": ["load", "flow"]}, "no column of numbers"),
        ({"series": "host", "timestamp": "load"}, "column 'at' holds dates and times"),
    ],
)
def test_columns_without_a_role_are_refused(options, message):
    with pytest.raises(InvalidInput, match=message):
        to_training_panel(FRAME, **options)


def test_several_columns_of_times_need_a_name():
    data = FRAME.assign(seen=FRAME["at"])
    with pytest.raises(InvalidInput, match="columns 'at', 'seen' hold dates and times; name the one"):
        to_training_panel(data, series="host")
    with pytest.raises(InvalidInput, match=r"column 'seen' holds dates and times, .*timestamp='seen'"):
        to_training_panel(data, series="host", timestamp="at")
    assert to_training_panel(data, series="host", leave_out=["seen"]).roles.timestamp == "at"


def test_numbers_are_times_only_with_the_name_of_one():
    seconds = 1.7e9 + 10.0 * np.arange(6)
    assert to_training_panel(pd.DataFrame({"Timestamp": seconds, "x": 1.0})).panel.step_seconds == 10.0
    assert to_training_panel(pd.DataFrame({"reading": seconds, "x": 1.0})).roles.timestamp is None
    assert to_training_panel(pd.DataFrame({"time": np.arange(6.0), "x": 1.0})).roles.timestamp is None
    named = to_training_panel(pd.DataFrame({"reading": seconds, "x": 1.0}), timestamp="reading")
    assert (named.roles.channels, named.panel.step_seconds) == (("x",), 10.0)


def test_a_text_that_is_no_time_leaves_its_row_out():
    data = pd.DataFrame({"t": ["2024-01-31", "soon", "2024-02-01", *[None] * 2], "x": 1.0})
    inputs = (Input(name="t", reading=TimeReading()),)
    shape = SeriesShape(length=2, channels=("x",), timestamp="t", step_seconds=86_400.0, inputs=inputs)
    assert sorted(to_panel(data, shape).left_out) == [1, 3, 4]


def test_a_csv_file_with_seconds_since_1970_has_times():
    """All cells of a CSV are texts: the column must not become a channel that grows without end."""
    seconds = [str(1_700_000_000 + 60 * i) for i in range(20)]
    table = pa.table({"timestamp": seconds, "x": [str(i % 3) for i in range(20)]})
    found = to_training_panel(table)
    assert found.roles == ("timestamp", None, ("x",))
    assert found.panel.step_seconds == 60.0
    assert to_panel(table, found.shape(4)).step_seconds == 60.0


def test_errors_about_cells_have_the_numbers_of_the_rows():
    table = pd.DataFrame({"a": [1.0, 2.0, np.inf], "b": ["1", "x", "2"]})
    with pytest.raises(InvalidInput, match="row 3, column 'a' is inf"):
        to_training_panel(table[["a"]], numbers=np.array([1, 2, 3]))
    many = pd.DataFrame({"b": [*map(str, range(60)), "x"]})
    with pytest.raises(InvalidInput, match="row 61, column 'b': 'x' is not a number"):
        to_training_panel(many, numbers=1 + np.arange(61))
