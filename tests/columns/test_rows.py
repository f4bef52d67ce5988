"""Rows come in many forms: a score must not depend on the form, and an error must name the column."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from anomaly_vae.columns.plan import model_rows, plan_schema
from anomaly_vae.columns.reading.records import Input, LeftOut, NumberReading, TextReading, TimeReading
from anomaly_vae.columns.rows import check_names, check_not_infinite, match_columns, to_rows, to_training_table
from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.errors import InvalidInput
from anomaly_vae.training.columns import standardise
from tests.support.models import schema_of
from tests.support.shaped import IMAGE, WINDOW, images, schema_with, windows

SCHEMA = Schema(
    columns=(
        Column(name="a", kind="continuous"),
        Column(name="b", kind="constant", value=3.0),
        Column(name="c", kind="continuous"),
    )
)
ROWS = np.array([[1.0, 3.0, 2.0], [4.0, 3.0, 5.5]])


@pytest.mark.parametrize(
    "data",
    [
        ROWS,
        ROWS.tolist(),
        np.asfortranarray(ROWS),
        np.repeat(ROWS, 2, axis=0)[::2],
        pd.DataFrame(ROWS, columns=["a", "b", "c"]),
        pd.DataFrame(ROWS[:, [2, 0, 1]], columns=["c", "a", "b"]).assign(extra="text"),
        pa.table({"c": ROWS[:, 2], "b": pa.array([3, 3], pa.int8()), "a": ROWS[:, 0], "extra": ["x", "y"]}),
        pa.RecordBatch.from_pydict({"b": ROWS[:, 1], "a": ROWS[:, 0], "c": ROWS[:, 2]}),
    ],
)
def test_every_form_of_the_same_rows_is_the_same(data):
    rows = to_rows(data, SCHEMA)
    np.testing.assert_array_equal(rows, ROWS)
    assert rows.flags.c_contiguous
    assert rows.dtype == np.float64


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (ROWS[0], r"2-D array .*x\.reshape\(1, -1\)"),
        (ROWS[:, :2], "2 features.*expecting 3"),
        (pd.DataFrame(ROWS[:, :2], columns=["a", "b"]), "columns are missing: 'c'"),
        (np.where(ROWS == 4.0, np.inf, ROWS), "row 1, column 'a' is inf"),
        (pd.DataFrame({"a": ["x", "y"], "b": [3, 3], "c": [1, 2]}), "column 'a' holds"),
        (pd.DataFrame([[1, 2, 3, 4]], columns=["a", "b", "c", "c"]), "'c' appears 2 times"),
        (ROWS.astype(complex), "Complex"),
        (np.array([["x", "y", "z"]]), "column 'a' holds text such as 'x', expected numbers as in training"),
    ],
)
def test_a_fault_is_named(data, message):
    with pytest.raises(InvalidInput, match=message):
        to_rows(data, SCHEMA)


@pytest.mark.parametrize(
    "data",
    [
        np.where(ROWS == 5.5, np.nan, ROWS),
        pd.DataFrame(ROWS, columns=["a", "b", "c"]).replace(5.5, np.nan),
        pd.DataFrame({"a": [1.0, 4.0], "b": [3, 3], "c": pd.array([2.0, None], dtype="Float64")}),
        pd.DataFrame({"a": [1.0, 4.0], "b": [3, 3], "c": [2.0, None]}, dtype=object),
        pa.table({"a": [1.0, 4.0], "b": [3, 3], "c": [2.0, None]}),
    ],
)
def test_every_form_of_a_missing_cell_is_nan(data):
    """A missing cell is not an error: the mask tells the networks which cells have values."""
    np.testing.assert_array_equal(to_rows(data, SCHEMA), [[1.0, 3.0, 2.0], [4.0, 3.0, np.nan]])


def test_arrays_without_names_get_numbered_names():
    table = to_training_table(ROWS)
    assert [each.name for each in table.inputs] == ["x0", "x1", "x2"]
    assert not table.has_names
    np.testing.assert_array_equal(table.rows, ROWS)
    assert table.categories == {}


def test_an_infinity_is_refused_and_a_missing_cell_is_not():
    rows = np.array([[1.0, np.nan], [np.nan, -np.inf]])
    with pytest.raises(InvalidInput, match=r"row 1, column 'b' is -inf; 1 of 2 rows hold an infinity") as caught:
        check_not_infinite(rows, ("a", "b"))
    assert caught.value.field == "b"
    check_not_infinite(rows[:1], ("a", "b"))


def test_values_beyond_float64_are_refused_by_name():
    with pytest.raises(InvalidInput, match="column 'big' spans"):
        standardise(np.array([1e308, -1e308, 1e308]), "big")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a", ""), "column 2 has no name"),
        (("a", "b\x1b[2J"), "cannot be printed"),
        (("a", "a"), "'a' appears 2 times"),
        (
            ("a", "", "a", "b", "b\x07", "b"),
            "column 2 .*; column 'a' appears 2 .*; column 'b' .*2 .*'b.*' has characters",
        ),
    ],
)
def test_columns_must_have_unique_printable_names(names, message):
    """Names are printed on terminals and in error messages: control characters there would be dangerous."""
    with pytest.raises(InvalidInput, match=message):
        check_names(names)


def test_numbers_and_texts_of_a_category_are_the_same_in_every_form():
    schema = schema_of("categorical", "gaussian")
    wanted = [[0.0, 40.0], [2.0, np.nan], [np.nan, 41.0], [-1.0, 42.0]]
    texts, numbers = ["blue", "red", None, "mauve"], [40.0, None, 41.0, 42.0]
    frame = pd.DataFrame({"pressure": numbers, "colour": texts})
    forms = [
        frame,
        frame.assign(colour=pd.Categorical(texts)),
        frame.convert_dtypes(),
        pa.table({"colour": pa.array(texts).dictionary_encode(), "pressure": pa.array(numbers)}),
        pa.table({"colour": texts, "pressure": numbers, "extra": texts}),
        np.array([[t, n] for t, n in zip(texts, numbers, strict=True)], dtype=object),
        [[t, n] for t, n in zip(texts, numbers, strict=True)],
    ]
    for form in forms:
        np.testing.assert_array_equal(to_rows(form, schema), wanted)


COLUMNS = {
    "number": st.floats(-1e9, 1e9),
    "whole": st.integers(-(2**60), 2**60),
    "truth": st.booleans(),
    "town": st.sampled_from(["Oslo", "Rome", "unknown", "NA", "", "Zürich"]),
    "digits": st.sampled_from(["1", "2.5", "-", "NA"]),
    "code": st.sampled_from(["007", "010", "2"]),
    "price": st.sampled_from(["$1,234.50", "$2.25", "($3.10)"]),
    "when": st.datetimes(datetime(2020, 1, 1), datetime(2024, 12, 31)),
    "amount": st.decimals(-(10**6), 10**6, places=2),
}
TABLES = st.integers(1, 15).flatmap(
    lambda n: st.fixed_dictionaries(
        {name: st.lists(st.none() | cells, min_size=n, max_size=n) for name, cells in COLUMNS.items()}
    )
)


def arrow_of(table):
    types = {"number": pa.float64(), "whole": pa.int64(), "truth": pa.bool_(), "when": pa.timestamp("us")}
    types["amount"] = pa.decimal128(18, 2)
    return pa.table({name: pa.array(cells, types.get(name, pa.string())) for name, cells in table.items()})


def polars_of(table):
    types = {"number": pl.Float64, "whole": pl.Int64, "truth": pl.Boolean, "when": pl.Datetime("us")}
    types["amount"] = pl.Decimal(18, 2)
    return pl.DataFrame({name: pl.Series(cells, dtype=types.get(name, pl.String)) for name, cells in table.items()})


def pandas_of(table):
    types = {"number": "Float64", "whole": "Int64", "truth": "boolean", "when": "M8[us]", "amount": object}
    return pd.DataFrame({name: pd.Series(cells, dtype=types.get(name, "string")) for name, cells in table.items()})


def objects_of(table):
    array = np.empty((len(table["number"]), len(table)), dtype=object)
    for d, cells in enumerate(table.values()):
        array[:, d] = cells
    return array


def planned(table):
    """Return what a table is read as, its schema and its rows; None for a table that cannot train."""
    try:
        schema, findings = plan_schema(table, np.arange(len(table.rows)), {})
    except InvalidInput as error:
        return str(error).replace("x0", "number")
    return schema, findings, model_rows(schema, table, table.rows)


@settings(max_examples=25, deadline=None)
@given(TABLES)
@example({name: [None] * 3 for name in COLUMNS})
@example({name: [None] * 3 for name in COLUMNS} | {"whole": [2**53 + 1, None, 5]})
def test_a_table_gives_the_same_rows_and_the_same_plan_in_every_form(cells):
    """Bit for bit, so that a model trained on a DataFrame scores the same table from a database."""
    forms = [
        arrow_of(cells),
        polars_of(cells),
        polars_of(cells).lazy(),
        pandas_of(cells),
        arrow_of(cells).to_batches()[0],
    ]
    tables = [to_training_table(form) for form in forms]
    first, plan = tables[0], planned(tables[0])
    for form, table in zip(forms, tables, strict=True):
        assert table.rows.tobytes() == first.rows.tobytes()
        assert table.categories == first.categories
        assert table.inputs == first.inputs
        other = planned(table)
        if isinstance(plan, str):
            assert other == plan
            continue
        assert other[:2] == plan[:2]
        np.testing.assert_array_equal(other[2], plan[2])
        np.testing.assert_array_equal(to_rows(form, plan[0]), plan[2])


@settings(max_examples=25, deadline=None)
@given(TABLES)
def test_an_array_of_objects_gives_the_same_rows_as_a_table_with_names(cells):
    """Dates are objects there, so they are read from their texts."""
    table, array = to_training_table(arrow_of(cells)), to_training_table(objects_of(cells))
    assert array.rows.tobytes() == table.rows.tobytes()
    for found, expected, values in zip(array.inputs, table.inputs, cells.values(), strict=True):
        assert found.reading == expected.reading or not any(value is not None for value in values)


@settings(max_examples=30, deadline=None)
@given(TABLES)
def test_a_row_alone_is_read_like_the_row_in_its_table(cells):
    frame = pandas_of(cells)
    plan = planned(to_training_table(frame))
    if isinstance(plan, str):
        return
    schema, _, rows = plan
    for i in range(len(frame)):
        np.testing.assert_array_equal(to_rows(frame.iloc[i : i + 1], schema), rows[i : i + 1])


WHEN = TimeReading(zone="Europe/Oslo", parts=("time_of_day",))
MIXED = Schema(
    columns=(
        Column(name="a", kind="continuous"),
        Column(name="when.time_of_day", kind="cyclic", period=24.0),
        Column(name="town", kind="categorical", categories=("Oslo", "Rome")),
    ),
    inputs=(
        Input(name="row", reading=LeftOut(why="numbers the rows")),
        Input(name="a", reading=NumberReading()),
        Input(name="when", reading=WHEN),
        Input(name="town", reading=TextReading()),
    ),
)


def test_columns_that_the_model_does_not_use_need_not_be_there_and_times_become_their_parts():
    """6:00 in UTC is 7:00 in Oslo in winter. An array has all columns of the training table."""
    wanted = [[1.5, 7.0, 1.0]]
    moment = pd.Timestamp("2024-01-01 06:00", tz="UTC")
    frame = pd.DataFrame({"town": ["Rome"], "when": [moment], "a": [1.5]})
    np.testing.assert_array_equal(to_rows(frame, MIXED), wanted)
    np.testing.assert_array_equal(to_rows(frame.astype({"when": str}), MIXED), wanted)
    np.testing.assert_array_equal(to_rows(np.array([[9, 1.5, moment, "Rome"]], dtype=object), MIXED), wanted)
    with pytest.raises(InvalidInput, match="3 features, but the model is expecting 4 features as input: 'row', 'a'"):
        to_rows(np.array([[1.5, moment, "Rome"]], dtype=object), MIXED)
    with pytest.raises(InvalidInput, match="column 'when' holds numbers"):
        to_rows(frame.assign(when=5), MIXED)


@pytest.mark.parametrize(
    "data", [np.zeros((0, 3)), pd.DataFrame({"a": [], "b": [], "c": []}), pl.DataFrame({"c": [], "b": [], "a": []})]
)
def test_a_table_without_rows_gives_no_rows(data):
    assert to_rows(data, SCHEMA).shape == (0, 3)
    assert to_training_table(data).rows.shape == (0, 3)


@pytest.mark.parametrize(
    "data",
    [
        np.ma.array([[1, 3, 9], [4, 3, 5]], mask=[[False, False, True], [False, False, False]]),
        np.ma.array([[1.0, 3.0, 9.0], [4.0, 3.0, 5.0]], mask=[[False, False, True], [False, False, False]]),
        np.ma.array(
            [(1, 3.0, 9), (4, 3.0, 5)],
            dtype=[("a", int), ("b", float), ("c", int)],
            mask=[(False, False, True), (False, False, False)],
        ),
        np.array(
            [(1, 3.0, np.nan, "x"), (4, 3.0, 5, "y")], dtype=[("a", int), ("b", float), ("c", float), ("e", "U1")]
        ),
    ],
)
def test_masked_cells_are_missing_and_fields_of_records_are_columns(data):
    np.testing.assert_array_equal(to_rows(data, SCHEMA), [[1.0, 3.0, np.nan], [4.0, 3.0, 5.0]])


@pytest.mark.parametrize(
    "value", [2**53 + 1, 2**64 - 1, str(2**53 + 1), Decimal(2**53 + 1), np.int64(2**53 + 1), f"{2**53 + 1:,}"]
)
def test_whole_numbers_are_never_rounded_in_silence(value):
    """Neither in training, where they become categories, nor in scoring, where they are refused."""
    table = pd.DataFrame({"id": pd.Series([1, value], dtype=object)})
    if "," in str(value):
        with pytest.raises(InvalidInput, match="float64 would round"):
            to_training_table(table)
    else:
        assert to_training_table(table).categories == {"id": ("1", str(value))}
    frame = pd.DataFrame({"a": pd.Series([value], dtype=object), "b": 3.0, "c": 1.0})
    with pytest.raises(InvalidInput, match=r"float64 would round|holds text such as '9,007"):
        to_rows(frame, SCHEMA)


def test_whole_numbers_beyond_float64_in_an_array_are_refused():
    with pytest.raises(InvalidInput, match=r"row 0, column 'a': '9007199254740993' is a whole number beyond 2\^53"):
        to_rows(np.array([[2**53 + 1, 3, 1]]), SCHEMA)
    np.testing.assert_array_equal(to_rows(np.array([[2**53, 3, 1]]), SCHEMA), [[2.0**53, 3.0, 1.0]])


def test_nested_columns_are_left_out_and_named():
    frame = pl.DataFrame({"a": [1.0, 2.0], "tags": [["x"], ["y", "z"]], "place": [{"x": 1}, {"x": 2}]})
    for form in (frame, frame.to_arrow(), frame.to_pandas()):
        table = to_training_table(form)
        assert [each.column for each in table.findings] == ["tags", "place"]
        assert all(each.is_left_out and "left out" in str(each) for each in table.findings)
        np.testing.assert_array_equal(table.rows, [[1.0], [2.0]])


@given(st.lists(st.none() | st.text(max_size=12) | st.floats() | st.integers() | st.binary(max_size=4), min_size=1))
@example(["9" * 5000, "1"])
@example(["1" + "0" * 400])
@example([10**400])
@example(["\ud800"])
@example([b"\xff"])
@example(["0001-01-01 00:00+23:59"])
def test_any_cells_train_or_are_invalid_input(cells):
    array = np.empty((len(cells), 1), dtype=object)
    array[:, 0] = cells
    try:
        table = to_training_table(array)
    except InvalidInput:
        return
    assert table.rows.shape == (len(cells), len(table.used_inputs))
    assert not np.isinf(table.rows).any()


@given(st.lists(st.text(max_size=12) | st.datetimes() | st.timedeltas() | st.booleans() | st.decimals(), min_size=1))
@example([timedelta.max])
@example([datetime.min])
@example([datetime.max])
def test_any_cells_are_scored_or_are_invalid_input(cells):
    for reading in MIXED.used_inputs:
        frame = pd.DataFrame({"a": 1.0, "when": "2024-01-01", "town": "Oslo"}, index=range(len(cells)))
        frame[reading.name] = pd.Series(cells, dtype=object)
        try:
            rows = to_rows(frame, MIXED)
        except InvalidInput:
            continue
        assert rows.shape == (len(cells), 3)


def test_a_text_that_no_file_can_hold_is_refused_in_training():
    """A lone surrogate cannot be written as UTF-8, so no manifest could keep the category."""
    with pytest.raises(InvalidInput, match=r"column 'x0' holds '\\ud800x', which is no valid Unicode text"):
        to_training_table(np.array([["\ud800x"], ["y"]], dtype=object))


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["x", "y"], "column 'a' holds text such as 'x', expected numbers as in training"),
        ([1.0, "y"], "row 1, column 'a': 'y' is not a number; 1 such cells"),
    ],
)
def test_a_column_of_texts_is_another_type_and_a_single_text_is_a_fault(cells, message):
    with pytest.raises(InvalidInput, match=message):
        to_rows(pd.DataFrame({"a": cells, "b": 3.0, "c": 1.0}), SCHEMA)


def test_a_masked_text_is_no_category():
    array = np.ma.array(np.array([["x"], ["y"], ["x"]]), mask=[[False], [True], [False]])
    table = to_training_table(array)
    assert table.categories == {"x0": ("x",)}
    np.testing.assert_array_equal(table.rows, [[0.0], [np.nan], [0.0]])


@pytest.mark.parametrize("unit", ["D", "s", "us", "ns"])
def test_masked_times_and_times_among_objects_are_times(unit):
    times = np.array([["2024-01-02"], ["2024-01-03"]], f"M8[{unit}]")
    wanted = times.astype("M8[us]").astype(float)
    objects = np.empty((2, 1), dtype=object)
    objects[:, 0] = list(times[:, 0])
    np.testing.assert_array_equal(to_training_table(objects).rows, wanted)
    masked = np.ma.array(times, mask=[[False], [True]])
    np.testing.assert_array_equal(to_training_table(masked).rows, np.where(masked.mask, np.nan, wanted))


@pytest.mark.parametrize("missing", [None, np.nan, pd.NaT, pd.NA, "", "NA"])
def test_a_batch_in_which_a_whole_column_is_missing_fits_every_kind_of_column(missing):
    """A row alone has no type where its cell is missing."""
    for name in MIXED.names:
        frame = pd.DataFrame({"a": [1.5], "when": ["2024-01-01 06:00Z"], "town": ["Rome"]})
        frame[name] = missing
        expected = [
            [
                np.nan if each.name == name else value
                for each, value in zip(MIXED.used_inputs, (1.5, 7.0, 1.0), strict=True)
            ]
        ]
        np.testing.assert_array_equal(to_rows(frame, MIXED), expected)
        if missing is None:
            np.testing.assert_array_equal(to_rows(pl.DataFrame(frame.to_dict("list")), MIXED), expected)
            np.testing.assert_array_equal(to_rows(pa.table(frame.to_dict("list")), MIXED), expected)


@pytest.mark.parametrize("place", [0, 1])
def test_a_column_that_cannot_be_used_is_named_with_what_it_holds(place):
    schema = Schema(columns=(Column(name="a", kind="continuous"), Column(name="b", kind="continuous")))
    values = [[1.0, 2.0], [1.0, 2.0]]
    values[place] = [[1], [2]]
    with pytest.raises(InvalidInput, match=f"column '{'ab'[place]}' holds nested values"):
        to_rows(pd.DataFrame(dict(zip("ab", values, strict=True))), schema)


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.uint64, np.float32, np.float64, object, bool])
@pytest.mark.parametrize("shape", [(5, 3, 4, 1), (5, 3, 4), (5, 12)])
def test_images_of_every_type_and_shape_are_the_same_rows(kind, shape):
    pixels = images(5) > 100 if kind is bool else images(5)
    rows = to_rows(pixels.astype(kind).reshape(shape), schema_with(IMAGE))
    np.testing.assert_array_equal(rows, pixels.reshape(5, 12))
    assert rows.dtype == np.float64
    assert rows.flags.c_contiguous


def test_windows_may_be_lists_and_have_missing_cells():
    found = windows(3)
    found[1, 2, 0] = np.nan
    expected = found.reshape(3, 8)
    with_none = np.where(np.isnan(found), None, found)
    masked = np.ma.masked_invalid(found)
    for given_as in (found.tolist(), with_none.tolist(), masked, np.asfortranarray(found)):
        np.testing.assert_array_equal(to_rows(given_as, schema_with(WINDOW)), expected)


def test_windows_may_be_tables_of_their_cells():
    schema, found = schema_with(WINDOW), windows(3).reshape(3, 8)
    table = pd.DataFrame(found, columns=schema.column_names)[list(schema.column_names[::-1])]
    np.testing.assert_array_equal(to_rows(table, schema), found)


def test_markers_of_missing_cells_hold_in_images():
    schema = msgspec.structs.replace(schema_with(IMAGE), missing_values=("255",))
    pixels = images(2)
    pixels[0, 1, 2, 0] = 255
    rows = to_rows(pixels, schema)
    assert np.isnan(rows[0, 6])
    assert np.isnan(rows).sum() == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((5, 4, 3)), r"X has shape \[5, 4, 3\].* \[N, 12\], \[N, 3, 4, 1\] or \[N, 3, 4\]"),
        (np.zeros((3, 4)), r"X has shape \[3, 4\].*x\[None\]"),
        (np.full((1, 3, 4), np.inf), "row 0, column 'y0x0' is inf"),
        (np.full((1, 3, 4), "x"), "column 'y0x0' holds text such as 'x'"),
        (np.full((1, 3, 4), 2**53 + 1), "column 'y0x0'"),
        (np.zeros((1, 3, 4), complex), "Complex"),
    ],
)
def test_a_fault_of_images_is_named(data, message):
    with pytest.raises(InvalidInput, match=message):
        to_rows(data, schema_with(IMAGE))


def test_rows_of_a_table_have_two_dimensions():
    with pytest.raises(InvalidInput, match=r"expected a 2-D array \(rows, 3\), got shape \(2, 3, 1\)"):
        to_rows(ROWS[:, :, None], SCHEMA)


def test_a_misspelt_name_is_sought_among_few_names(monkeypatch):
    """A request may have 4,096 other names, and a model 16,384 columns: comparing all of them took minutes."""
    compared = []

    def count(name, others, n):
        compared.append(len(others))
        return []

    monkeypatch.setattr("difflib.get_close_matches", count)
    with pytest.raises(InvalidInput, match="300 of the model's 300 columns are missing"):
        match_columns(tuple(f"a{i}" for i in range(4_096)), tuple(f"b{i}" for i in range(300)))
    assert sum(compared) <= 5_000
