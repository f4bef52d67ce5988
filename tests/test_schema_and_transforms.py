"""Rows come in many forms; a score must not depend on the form, and a fault must be named."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from anomaly_vae.errors import ConfigError, InvalidInput
from anomaly_vae.schema import Column, Schema, check_names, to_matrix, to_rows
from anomaly_vae.transforms import Standardise

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
        (pd.DataFrame(ROWS, columns=["a", "b", "c"]).replace(5.5, np.nan), "row 1, column 'c' is missing"),
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


def test_arrays_without_names_get_numbered_names():
    names, rows = to_matrix(ROWS)
    assert names == ("x0", "x1", "x2")
    np.testing.assert_array_equal(rows, ROWS)


def test_a_changed_constant_is_novel_and_named():
    """PyOD scales a constant column by 1e-8, so any change becomes 1e8 standard deviations: we say what happened."""
    rows = ROWS.copy()
    rows[1, 1] = 3.5
    np.testing.assert_array_equal(SCHEMA.is_novel(rows), [False, True])
    assert SCHEMA.describe(SCHEMA.changed(rows), rows) == [None, "column 'b' was always 3.0 in training, is 3.5"]


def test_a_reason_names_three_changed_columns_and_counts_the_rest():
    """A row may change hundreds of them, and a table may have a million such rows."""
    names = tuple("abcdefgh")
    schema = Schema(columns=tuple(Column(name=name, kind="constant", value=1.0) for name in names))
    rows = np.ones((3, 8))
    rows[1, 2:] = 0.0
    rows[2, 7] = 2.0
    first, second, third = schema.describe(schema.changed(rows), rows)
    assert first is None
    assert second.startswith("column 'c' was always 1.0 in training, is 0.0; column 'd'")
    assert second.endswith("column 'e' was always 1.0 in training, is 0.0; and 3 more columns")
    assert third == "column 'h' was always 1.0 in training, is 2.0"


def test_kinds_are_read_off_the_rows():
    schema = Schema.infer(ROWS, ("a", "b", "c"))
    assert schema == SCHEMA
    np.testing.assert_array_equal(schema.modelled, [0, 2])


def test_nothing_to_model_is_refused():
    with pytest.raises(InvalidInput, match="one single value"):
        Schema.infer(ROWS[:1], ("a", "b", "c"))


def test_standardising_inverts_and_has_the_jacobian_of_its_numerical_derivative():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 3)) * [1e-6, 1.0, 1e6] + [5.0, 0.0, -1e9]
    transform = Standardise.fit(x, ("a", "b", "c"))
    y = transform.forward(x)
    np.testing.assert_allclose([y.mean(0), y.std(0)], [[0] * 3, [1] * 3], atol=1e-6)
    np.testing.assert_allclose(transform.inverse(y), x, rtol=1e-12)
    step = x.std(0) * 1e-3
    numerical = [(transform.forward(x[:1] + np.eye(3)[d] * step[d]) - y[:1])[0] / step[d] for d in range(3)]
    assert transform.log_abs_det == pytest.approx(np.linalg.slogdet(np.array(numerical))[1], rel=1e-6)


def test_values_beyond_float64_are_refused_by_name():
    with pytest.raises(InvalidInput, match="column 'big' spans"):
        Standardise.fit(np.array([[1e308], [-1e308], [1e308]]), ("big",))


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
