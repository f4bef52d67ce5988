"""Rows come in many forms: a score must not depend on the form, and an error must name the column."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from anomaly_vae.columns.rows import check_names, check_not_infinite, to_matrix, to_rows
from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.errors import InvalidInput
from anomaly_vae.training.columns import standardise
from tests.support.models import schema_of

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
        (np.array([["x", "y", "z"]]), "expected numbers"),
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
    names, rows, categories = to_matrix(ROWS)
    assert names == ("x0", "x1", "x2")
    np.testing.assert_array_equal(rows, ROWS)
    assert categories == {}


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
