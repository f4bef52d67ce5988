"""Columns of a table, and novel cells: values that training never had."""

from __future__ import annotations

import pickle

import msgspec
import numpy as np
import pytest

from anomaly_vae.columns.features import Features
from anomaly_vae.columns.reading.records import Input, LeftOut, NumberReading, TextReading, TimeReading
from anomaly_vae.columns.schema import MOST_CATEGORIES, Column, Schema
from tests.support.models import columns_of, schema_of

SCHEMA = Schema(
    columns=(
        Column(name="a", kind="continuous"),
        Column(name="b", kind="constant", value=3.0),
        Column(name="c", kind="continuous"),
    )
)
ROWS = np.array([[1.0, 3.0, 2.0], [4.0, 3.0, 5.5]])


def test_a_changed_constant_is_novel_and_named():
    """PyOD scales a constant column by 1e-8, so any change becomes 1e8 standard deviations: the reason names both."""
    rows = ROWS.copy()
    rows[1, 1] = 3.5
    np.testing.assert_array_equal(SCHEMA.is_novel(rows), [False, True])
    assert SCHEMA.describe(SCHEMA.novel_cells(rows), rows) == [None, "column 'b' was always 3.0 in training, is 3.5"]


def test_a_reason_names_three_changed_columns_and_counts_the_rest():
    """One row can have hundreds of novel cells, and a table a million of these rows: texts must stay short."""
    names = tuple("abcdefgh")
    schema = Schema(columns=tuple(Column(name=name, kind="constant", value=1.0) for name in names))
    rows = np.ones((3, 8))
    rows[1, 2:] = 0.0
    rows[2, 7] = 2.0
    first, second, third = schema.describe(schema.novel_cells(rows), rows)
    assert first is None
    assert second.startswith("column 'c' was always 1.0 in training, is 0.0; column 'd'")
    assert second.endswith("column 'e' was always 1.0 in training, is 0.0; and 3 more columns")
    assert third == "column 'h' was always 1.0 in training, is 2.0"


def test_novel_cells_are_hidden_from_the_networks_and_named():
    schema, columns = schema_of("categorical", "bernoulli", "count"), columns_of("categorical", "bernoulli", "count")
    rows = np.array([[0.0, 1.0, 3.0], [-1.0, 1.0, 3.0], [0.0, 0.5, 3.0], [0.0, 1.0, -2.0], [0.0, 1.0, 2.5]])
    novel = schema.novel_cells(rows)
    np.testing.assert_array_equal(novel.sum(axis=1), [0, 1, 1, 1, 1])
    inputs = Features(schema, columns).encode(rows)
    np.testing.assert_array_equal(inputs.mask.sum(axis=1), [5, 2, 4, 4, 4])
    assert np.isfinite(inputs.x).all()
    assert schema.describe(novel, rows) == [
        None,
        "column 'colour' holds a category that training never had",
        "column 'is_open' was always 0 or 1 in training, is 0.5",
        "column 'visits' was always a whole number from 0 in training, is -2.0",
        "column 'visits' was always a whole number from 0 in training, is 2.5",
    ]


@pytest.mark.parametrize("value", [0.1, 1e-30, -3.5e8, 1e300, 0.0])
def test_a_constant_is_the_same_in_float32_and_after_rounding(value):
    """0.1 in float32 is another number than 0.1: rows of the same data must not be novel for it."""
    schema = Schema(columns=(Column(name="a", kind="constant", value=value),))
    with np.errstate(over="ignore"):
        forms = np.array([[value], [float(np.float32(value))], [value * (1 + 1e-13)], [np.nan]])
    if np.isinf(forms[1, 0]):
        forms[1] = value  # beyond the range of float32
    assert not schema.is_novel(forms).any()
    assert schema.is_novel(np.array([[value * 1.001 + 1e-20]])).all()


def test_a_constant_far_from_a_value_differs_even_where_their_difference_overflows():
    schema = Schema(columns=(Column(name="a", kind="constant", value=1.7e308),))
    assert schema.is_novel(np.array([[-1.7e308]])).all()  # warnings are errors here


def test_a_missing_cell_is_not_novel_in_any_kind():
    names = ("categorical", "bernoulli", "count", "gaussian")
    constant = Column(name="unit", kind="constant", value=7.0)
    schema = Schema(columns=(*schema_of(*names).columns, constant))
    assert not schema.novel_cells(np.full((1, 5), np.nan)).any()
    assert schema.novel_cells(np.full((1, 5), -1.5)).tolist() == [[True, True, True, False, True]]


def test_only_columns_with_more_than_one_value_are_modelled():
    schema = Schema(
        columns=(
            Column(name="a", kind="constant", value=1.0),
            Column(name="b", kind="continuous"),
            Column(name="c", kind="categorical", categories=("only",)),
            Column(name="d", kind="categorical", categories=("x", "y")),
        ),
        label="broken",
    )
    np.testing.assert_array_equal(schema.modelled, [1, 3])
    assert schema.names == ("a", "b", "c", "d")
    assert schema.categories == {"c": ("only",), "d": ("x", "y")}


@pytest.mark.parametrize(
    ("field", "value"),
    [("kind", "picture"), ("step", 0.0), ("categories", ["x"] * (MOST_CATEGORIES + 1)), ("value", "high")],
)
def test_a_column_out_of_range_is_refused_by_its_field(field, value):
    with pytest.raises(msgspec.ValidationError, match=rf"\$\.{field}"):
        msgspec.convert({"name": "a", "kind": "continuous", field: value}, Column)


def test_a_row_is_empty_if_all_its_modelled_cells_are_missing_and_no_value_is_new():
    """A changed constant can be judged: its probability is known. An unchanged one says nothing."""
    rows = np.array([[np.nan, 3.0, np.nan], [np.nan, np.nan, np.nan], [np.nan, 4.0, np.nan], [1.0, 3.0, np.nan]])
    np.testing.assert_array_equal(SCHEMA.is_empty(rows), [True, True, False, False])


def test_cells_outside_a_column_are_new_or_too_rare_to_learn():
    """If the rare categories are a level of the head, no category is outside."""
    learned = Column(name="a", kind="categorical", categories=tuple("xyz"), rare=(1,))
    unlearned = Column(name="b", kind="categorical", categories=tuple("xyz"), rare=(1,), other_share=0.1)
    schema = Schema(columns=(learned, unlearned))
    rows = np.repeat([[0.0], [1.0], [-1.0], [np.nan]], 2, axis=1)
    np.testing.assert_array_equal(schema.other_cells(rows)[:, 0], [False] * 4)
    np.testing.assert_array_equal(schema.other_cells(rows)[:, 1], [False, True, True, False])
    np.testing.assert_array_equal(schema.novel_cells(rows), np.repeat([[False], [False], [True], [False]], 2, axis=1))


def test_without_inputs_every_column_is_an_input_of_plain_numbers_or_texts():
    schema = schema_of("categorical", "gaussian")
    assert schema.all_inputs == schema.used_inputs
    assert [each.reading for each in schema.all_inputs] == [TextReading(), NumberReading()]
    assert schema.names == schema.column_names == ("colour", "pressure")
    assert schema.left_out == ()


def test_a_table_to_score_needs_the_inputs_that_are_read_and_the_model_has_the_columns_that_they_give():
    hour = Column(name="when.time_of_day", kind="cyclic", period=24.0)
    schema = Schema(
        columns=(*schema_of("categorical").columns, hour),
        inputs=(
            Input(name="row", reading=LeftOut(why="numbers the rows")),
            Input(name="colour", reading=TextReading()),
            Input(name="when", reading=TimeReading(parts=("time_of_day",))),
        ),
        missing_values=("gone",),
    )
    assert schema.names == ("colour", "when")
    assert schema.column_names == ("colour", "when.time_of_day")
    assert schema.left_out == ("row",)
    reader = schema.reader()
    np.testing.assert_array_equal(reader.texts("colour", ["red", "Gone", "mauve"])[0], [2.0, np.nan, -1.0])
    noon = np.datetime64("2024-01-01T12:00", "us").astype(np.int64)
    np.testing.assert_array_equal(schema.expand(np.array([[2.0, noon]])), [[2.0, 12.0]])


def test_what_follows_from_the_columns_is_computed_once_and_belongs_to_this_schema():
    """A model may have thousands of columns, and every call asks. A changed copy must not inherit the old answers."""
    schema = Schema(columns=tuple(Column(name=f"a{d}", kind="continuous") for d in range(3)))
    for name in ("names", "column_names", "all_inputs", "used_inputs", "modelled"):
        assert getattr(schema, name) is getattr(schema, name), name
    assert schema.reader() is schema.reader()
    assert schema.reads_only_numbers
    with pytest.raises(ValueError, match="read-only"):
        schema.modelled[0] = 5
    text = Column(name="b", kind="categorical", categories=("x",), novelty="density")
    changed = msgspec.structs.replace(schema, columns=(*schema.columns[:1], text))
    assert (changed.names, changed.modelled.tolist(), changed.reads_only_numbers) == (("a0", "b"), [0], False)
    assert changed.novel_cells(np.array([[0.0, 1.0]])).tolist() == [[False, True]]
    again = pickle.loads(pickle.dumps(schema))  # noqa: S301 (our own bytes)
    assert (again, hash(again)) == (schema, hash(schema))
    assert msgspec.json.encode(again) == msgspec.json.encode(schema)
