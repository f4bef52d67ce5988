"""Columns of tables in memory: every type gives its cells, or says that it cannot."""

from __future__ import annotations

import decimal
from datetime import UTC, date, datetime, time, timedelta, timezone
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly_vae.columns.reading.cells import CellReader
from anomaly_vae.columns.reading.codes import CodeBook
from anomaly_vae.columns.reading.frames import cells_of, read_cells, sample_of
from anomaly_vae.columns.reading.missing import Markers
from anomaly_vae.columns.reading.records import Input, NumberReading, TextReading
from anomaly_vae.columns.rows import to_training_table
from anomaly_vae.errors import InvalidInput

BIG = 2**53 + 1
MOMENT = datetime(2024, 1, 2, 3, 4, 5, 600)
MICROS = int(np.datetime64(MOMENT, "us").astype(np.int64))
NAT = np.iinfo(np.int64).min


def objects(*values):
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


NUMBERS = {
    "numpy": (np.array([1.5, np.nan]), [1.5, np.nan]),
    "float16": (np.array([1.5, 2.0], np.float16), [1.5, 2.0]),
    "long double": (np.array([1.5], np.longdouble), [1.5]),
    "uint8": (np.array([255], np.uint8), [255.0]),
    "timedelta64": (np.array([1500, "NaT"], "m8[ms]"), [1.5, np.nan]),
    "objects": (objects(1, 2.5, None, True, np.float32(0.5), np.True_), [1.0, 2.5, np.nan, 1.0, 0.5, 1.0]),
    "Decimals": (
        objects(decimal.Decimal("1.5"), decimal.Decimal("NaN"), decimal.Decimal("sNaN")),
        [1.5, np.nan, np.nan],
    ),
    "Fractions": (objects(Fraction(1, 4), None), [0.25, np.nan]),
    "timedeltas": (objects(timedelta(minutes=1), None, np.timedelta64(2, "s")), [60.0, np.nan, 2.0]),
    "an endless Fraction": (objects(Fraction(-(10**400))), [-np.inf]),
    "a Decimal beyond float64": (objects(decimal.Decimal("1e999")), [np.inf]),
    "2^53": (np.array([2**53 - 1, -(2**53) + 1]), [2.0**53 - 1, 1 - 2.0**53]),
    "pandas Int64": (pd.Series([1, None], dtype="Int64"), [1.0, np.nan]),
    "pandas Float64": (pd.Series([1.5, None], dtype="Float64"), [1.5, np.nan]),
    "pandas int64[pyarrow]": (pd.Series([1, None], dtype="int64[pyarrow]"), [1.0, np.nan]),
    "pandas timedelta": (pd.Series(pd.to_timedelta(["2s", None])), [2.0, np.nan]),
    "polars": (pl.Series([1, None, -128], dtype=pl.Int8), [1.0, np.nan, -128.0]),
    "polars Int128": (pl.Series([1, None], dtype=pl.Int128), [1.0, np.nan]),
    "polars Decimal": (pl.Series([decimal.Decimal("0.1"), None]), [0.1, np.nan]),
    "polars Null": (pl.Series([None, None]), [np.nan, np.nan]),
    "polars Duration": (pl.Series([timedelta(seconds=2), None]), [2.0, np.nan]),
    "Arrow": (pa.chunked_array([[1], [None]], pa.int64()), [1.0, np.nan]),
    "Arrow decimal": (pa.array([decimal.Decimal("0.1"), None]), [0.1, np.nan]),
    "Arrow null": (pa.nulls(2), [np.nan, np.nan]),
    "Arrow duration": (pa.array([timedelta(seconds=2), None]), [2.0, np.nan]),
}

TRUTHS = {
    "numpy": np.array([True, False]),
    "objects": objects(True, np.False_),
    "pandas": pd.Series([True, False], dtype="boolean"),
    "polars": pl.Series([True, False]),
    "Arrow": pa.array([True, False]),
}

TEXTS = {
    "numpy": np.array(["a", ""]),
    "numpy bytes": np.array([b"a", b""]),
    "numpy StringDType": np.array(["a", ""], dtype=np.dtypes.StringDType()),
    "objects": objects("a", ""),
    "bytes": objects(b"a", b""),
    "pandas string": pd.Series(["a", ""], dtype="string"),
    "pandas string[pyarrow]": pd.Series(["a", ""], dtype="string[pyarrow]"),
    "polars": pl.Series(["a", ""]),
    "polars Binary": pl.Series([b"a", b""]),
    "Arrow": pa.array(["a", ""]),
    "Arrow large_string": pa.array(["a", ""], pa.large_string()),
    "Arrow string_view": pa.array(["a", ""], pa.string_view()),
    "Arrow binary": pa.array([b"a", b""]),
}

CATEGORIES = {
    "pandas": pd.Series(["a", None], dtype="category"),
    "pandas dictionary": pd.Series(["a", None], dtype=pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string()))),
    "polars Categorical": pl.Series(["a", None], dtype=pl.Categorical),
    "polars Enum": pl.Series(["a", None], dtype=pl.Enum(["a"])),
    "Arrow": pa.array(["a", None]).dictionary_encode(),
}

OSLO = timezone(timedelta(hours=1))
TIMES = {
    "numpy": (np.array([MOMENT, "NaT"], "M8[us]"), None),
    "numpy ns": (np.array([MOMENT, "NaT"], "M8[ns]"), None),
    "pandas": (pd.Series([MOMENT, None]), None),
    "pandas zone": (pd.Series([MOMENT, None]).dt.tz_localize("UTC").dt.tz_convert("Europe/Oslo"), "Europe/Oslo"),
    "pandas offset": (pd.Series([MOMENT, None]).dt.tz_localize("UTC").dt.tz_convert(OSLO), "+01:00"),
    "pandas UTC": (pd.Series([MOMENT, None]).dt.tz_localize(UTC), "UTC"),
    "pandas timestamp[pyarrow]": (pd.Series([MOMENT, None], dtype=pd.ArrowDtype(pa.timestamp("us", "UTC"))), "UTC"),
    "polars": (pl.Series([MOMENT, None]), None),
    "polars zone": (
        pl.Series([MOMENT, None]).dt.replace_time_zone("UTC").dt.convert_time_zone("Europe/Oslo"),
        "Europe/Oslo",
    ),
    "Arrow": (pa.array([MOMENT, None], pa.timestamp("us")), None),
    "Arrow zone": (pa.array([MOMENT, None], pa.timestamp("us", "Europe/Oslo")), "Europe/Oslo"),
}

UNUSABLE = {
    "complex": np.array([1j]),
    "records": np.zeros(2, dtype=[("a", float)]),
    "two dimensions": np.zeros((2, 2)),
    "lists": objects([1], [2, 3]),
    "dicts": objects({}, None),
    "arrays": objects(np.zeros(2), None),
    "other objects": objects(object()),
    "complex objects": objects(1j),
    "far years": np.array(["20000-01-01", "NaT"], "M8[D]"),
    "years that overflow": np.array([2**62, 0], "M8[s]"),
    "pandas Period": pd.Series(pd.period_range("2024-01", periods=2, freq="M")),
    "polars List": pl.Series([[1], [2]]),
    "polars Array": pl.Series([[1, 2]], dtype=pl.Array(pl.Int64, 2)),
    "polars Struct": pl.Series([{"x": 1}, {"x": 2}]),
    "polars Object": pl.Series([object()], dtype=pl.Object),
    "Arrow list": pa.array([[1], None]),
    "Arrow struct": pa.array([{"x": 1}, None]),
    "Arrow map": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_every_form_of_numbers_gives_numbers(name):
    column, values = NUMBERS[name]
    cells = cells_of(column)
    assert cells.form == "number"
    np.testing.assert_array_equal(cells.values, values)
    assert cells.values.dtype == np.float64
    assert len(cells) == len(values)


@pytest.mark.parametrize("name", TRUTHS)
def test_every_form_of_truth_values_gives_ones_and_zeros(name):
    cells = cells_of(TRUTHS[name])
    assert cells.form == "truth"
    np.testing.assert_array_equal(cells.values, [1.0, 0.0])


@pytest.mark.parametrize("name", TEXTS)
def test_every_form_of_texts_gives_texts(name):
    cells = cells_of(TEXTS[name])
    assert (cells.form, list(cells.texts)) == ("text", ["a", ""])


@pytest.mark.parametrize("name", CATEGORIES)
def test_every_form_of_categories_gives_categories(name):
    cells = cells_of(CATEGORIES[name])
    assert (cells.form, list(cells.texts)) == ("category", ["a", None])


@pytest.mark.parametrize("name", TIMES)
def test_every_form_of_times_gives_microseconds_and_the_zone(name):
    column, zone = TIMES[name]
    cells = cells_of(column)
    assert (cells.form, cells.micros.tolist(), cells.zone) == ("time", [MICROS, NAT], zone)


@pytest.mark.parametrize("name", UNUSABLE)
def test_what_is_no_column_of_cells_cannot_be_used(name):
    cells = cells_of(UNUSABLE[name])
    assert cells.form == "unusable"
    each = CellReader([Input(name="a", reading=NumberReading())], CodeBook(), Markers())
    with pytest.raises(InvalidInput, match=r"column 'a' holds .*, expected numbers as in training"):
        read_cells(each, "a", cells)


@pytest.mark.parametrize(
    "column",
    [
        np.array([BIG, 1]),
        np.array([2**64 - 1, 1], np.uint64),
        np.array([-(2**63), 1]) + 1,
        objects(BIG, 1),
        objects(decimal.Decimal(BIG), None),
        objects(10**400, 1),
        pd.Series([BIG, None], dtype="Int64"),
        pd.Series([2**64 - 1, None], dtype="UInt64"),
        pd.Series([BIG, None], dtype="int64[pyarrow]"),
        pl.Series([BIG, None]),
        pl.Series([-BIG, -(2**63), None]),
        pl.Series([2**64 - 1, None], dtype=pl.UInt64),
        pl.Series([2**100 + 1, None], dtype=pl.Int128),
        pl.Series([decimal.Decimal(BIG), None]),
        pa.array([BIG, None]),
        pa.array([2**64 - 1, None], pa.uint64()),
        pa.array([decimal.Decimal(BIG), None]),
    ],
)
def test_whole_numbers_that_float64_would_round_become_texts(column):
    """An account number of 17 digits must not become another account's."""
    cells = cells_of(column)
    assert cells.form == "text"
    assert sample_of(cells, Markers()).texts


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=6))
def test_whole_numbers_of_64_bits_are_kept_exactly_in_every_form(values):
    """As numbers if float64 has all of them, otherwise as texts."""
    forms = [
        objects(*values),
        pd.Series(values, dtype="Int64"),
        pl.Series(values, dtype=pl.Int64),
        pa.array(values, pa.int64()),
    ]
    for form in forms:
        cells = cells_of(form)
        if cells.texts is not None:
            assert [None if each is None else int(each) for each in cells.texts] == values
        else:
            assert [None if each != each else int(each) for each in cells.values.tolist()] == values


def test_objects_of_time_become_iso_texts():
    column = objects(date(2024, 1, 2), MOMENT, time(3, 4), np.datetime64("2024-01-02"), np.datetime64("NaT"), pd.NaT)
    texts = ["2024-01-02", "2024-01-02 03:04:05.000600", "03:04:00", "2024-01-02", None, None]
    assert cells_of(column).texts == texts
    for form in (
        pl.Series([time(3, 4), None]),
        pa.array([time(3, 4), None], pa.time32("s")),
        pa.array([time(3, 4), None]),
    ):
        assert cells_of(form).texts == ["03:04:00", None]


def test_only_the_first_texts_that_are_not_missing_decide():
    column = np.array(["a"] * 3 + ["NA"] + ["b"] * 10_000)
    assert sample_of(cells_of(column), Markers()).texts == {"a": 3, "b": 9_996}
    assert sample_of(cells_of(np.array([1.0])), Markers()).texts == {}


def test_faults_of_cells_are_found_by_position():
    each = CellReader([Input(name="a", reading=NumberReading())], CodeBook(), Markers())
    values, bad = read_cells(each, "a", cells_of(objects("1", "x", None)))
    np.testing.assert_array_equal(values, [1.0, np.nan, np.nan])
    assert bad == {1: "'x' is not a number"}
    texts = CellReader([Input(name="a", reading=TextReading())], CodeBook({"a": ("x",)}), Markers())
    np.testing.assert_array_equal(read_cells(texts, "a", cells_of(objects("x", "1")))[0], [0.0, -1.0])


def test_numbers_among_texts_keep_their_value_whatever_the_marks_of_the_texts():
    """As a text, 1.567 would be 1567 where a point separates thousands."""
    cells = [1.567, "2,5", 3, "1.234,5", None, decimal.Decimal("0.25")] * 8
    table = to_training_table(np.array(cells, dtype=object)[:, None])
    assert table.inputs[0].reading == NumberReading(decimal=",", thousands=".")
    np.testing.assert_array_equal(table.rows[:6, 0], [1.567, 2.5, 3.0, 1234.5, np.nan, 0.25])
