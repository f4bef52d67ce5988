"""Rows come in many forms; a score must not depend on the form, and a fault must be named."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from anomaly_vae.errors import ConfigError, InvalidInput
from anomaly_vae.kinds import infer_schema
from anomaly_vae.rows import check_names, check_not_infinite, to_matrix, to_rows
from anomaly_vae.schema import Column, Schema
from anomaly_vae.training.columns import standardise

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
        (pd.DataFrame([[1, 2, 3, 4]], columns=["a", "b", "c", "c"]), "'c' stands 2 times"),
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
    """A missing cell is no fault: the model is told which cells are there."""
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


def test_a_changed_constant_is_novel_and_named():
    """PyOD scales a constant column by 1e-8, so any change becomes 1e8 standard deviations: we say what happened."""
    rows = ROWS.copy()
    rows[1, 1] = 3.5
    np.testing.assert_array_equal(SCHEMA.is_novel(rows), [False, True])
    assert SCHEMA.describe(SCHEMA.novel_cells(rows), rows) == [None, "column 'b' was always 3.0 in training, is 3.5"]


def test_a_reason_names_three_changed_columns_and_counts_the_rest():
    """A row may change hundreds of them, and a table may have a million such rows."""
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


def test_kinds_are_read_off_the_rows():
    """Two values that differ could be anything: whole ones are integers on the grid of their distance."""
    schema = infer_schema(ROWS, ("a", "b", "c"))
    assert schema.columns == (Column(name="a", kind="integer", step=3.0, origin=1.0), *SCHEMA.columns[1:])
    np.testing.assert_array_equal(schema.modelled, [0, 2])


def test_nothing_to_model_is_refused():
    with pytest.raises(InvalidInput, match="one single value"):
        infer_schema(ROWS[:1], ("a", "b", "c"))


def test_standardising_inverts_and_has_the_jacobian_of_its_numerical_derivative():
    rng = np.random.default_rng(0)
    for unit, place in ((1e-6, 5.0), (1.0, 0.0), (1e6, -1e9)):
        x = rng.normal(size=50) * unit + place
        transform = standardise(x, "a")
        y = transform.forward(x)
        np.testing.assert_allclose([y.mean(), y.std()], [0, 1], atol=1e-6)
        np.testing.assert_allclose(transform.inverse(y), x, rtol=1e-12)
        step = x.std() * 1e-3
        numerical = (transform.forward(x + step) - y) / step
        np.testing.assert_allclose(transform.log_slope(x), np.log(numerical), rtol=1e-6)


def test_values_beyond_float64_are_refused_by_name():
    with pytest.raises(InvalidInput, match="column 'big' spans"):
        standardise(np.array([1e308, -1e308, 1e308]), "big")


def test_errors_are_value_errors_too():
    """scikit-learn and careless callers catch ValueError."""
    assert issubclass(InvalidInput, ValueError)
    assert issubclass(ConfigError, ValueError)


@pytest.mark.parametrize(
    ("names", "message"),
    [(("a", ""), "column 2 has no name"), (("a", "b\x1b[2J"), "cannot be printed"), (("a", "a"), "'a' stands 2 times")],
)
def test_columns_must_have_printable_names_of_their_own(names, message):
    """Names reach terminals and error texts: control characters have no business there."""
    with pytest.raises(InvalidInput, match=message):
        check_names(names)
