"""Tables of series in memory: which rows count, what is missing, and the windows of all of them."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.batch import read_series, series_input
from anomaly_vae.errors import InvalidInput
from tests.support.tables import csv_table
from tests.support.windows import window_schema

NAMED = window_schema(2, ("a",), timestamp="ts", series="host", step_seconds=60.0)
TEXT = """ts,host,a,id
2024-01-01 00:00:00,x,1,r1
2024-01-01 00:01:00,x,2,r2
2024-01-01 00:00:00,y,3,r3
2024-01-01 00:02:00,x,high,r4
,x,5,r5
2024-01-01 00:03:00,x,7
2024-01-01 00:01:00,y,8,r7
"""


def test_rows_that_cannot_be_read_have_no_values_and_all_others_keep_their_numbers():
    """Row 4 has a text, row 5 no time, row 6 too few cells: it has a time, so it is a step without values."""
    seen = []
    series = read_series(csv_table(TEXT), NAMED, "-", ["id"], lambda summary: seen.append(summary.rows))
    assert {row: fault.kind for row, fault in series.faults.items()} == {3: "unreadable", 5: "ragged"}
    np.testing.assert_array_equal(series.panel.values[:, 0], [1, 2, 3, np.nan, 5, np.nan, 8])
    assert series.kept.to_pydict() == {"id": ["r1", "r2", "r3", "r4", "r5", None, "r7"]}
    assert sorted(series.panel.left_out) == [4]
    assert any("first row 5" in note for note in series.panel.notes)  # counted from 1, as in the summary
    assert series.names == ["x", "x", "y", "x", "x", "x", "y"]
    assert (len(series), seen[-1]) == (7, 7)
    assert [column.to_pylist() for column in series.kept_columns(2, 4)] == [["r3", "r4"]]


def test_without_times_a_row_that_cannot_be_read_is_still_a_step():
    series = read_series(csv_table("a\n1\nhigh\n3\n4\n"), window_schema(2, ("a",)), "-")
    assert series.seconds is series.names is None
    (rows, windows), *_ = series.windows()
    np.testing.assert_array_equal(rows, [2, 3])
    np.testing.assert_array_equal(windows, [[np.nan, 3.0], [3.0, 4.0]])


def test_markers_of_the_model_and_of_the_table_count_in_all_columns():
    schema = window_schema(2, ("a",), series="host")
    text = "host,a\nx,1\nnobody,2\nx,-9\nx,4\n"
    series = read_series(csv_table(text, missing_values=("-9", "nobody")), schema, "-")
    assert series.names == ["x", None, "x", "x"]
    np.testing.assert_array_equal(series.panel.values[:, 0], [1, 2, np.nan, 4])


@pytest.mark.parametrize("at_once", [2, 1000])
def test_windows_come_in_bounded_parts_with_the_rows_where_they_end(monkeypatch, at_once):
    monkeypatch.setattr(series_input, "_CELLS_AT_ONCE", at_once * 3)
    rng = np.random.default_rng(0)
    values = rng.normal(size=40)
    text = "host,a\n" + "".join(f"{'xy'[i % 2]},{value!r}\n" for i, value in enumerate(values.tolist()))
    series = read_series(csv_table(text), window_schema(3, ("a",), series="host"), "-")
    parts = list(series.windows())
    assert max(len(rows) for rows, _ in parts) == min(at_once, 36)
    rows = np.concatenate([rows for rows, _ in parts])
    np.testing.assert_array_equal(rows, series.window_ends())
    assert series.num_windows == len(rows) == 36
    for row, window in zip(rows, np.concatenate([windows for _, windows in parts]), strict=True):
        np.testing.assert_array_equal(window, values[row - 4 : row + 1 : 2])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "time,host,a\n",
            "column 'ts' is missing: the model reads the times of the rows from it; found 'time', 'host'",
        ),
        ("ts,name,a\n", "column 'host' is missing: the model reads the names of the series from it"),
        ("ts,host,b\n", "1 of the model's 3 columns are missing: 'a'"),
        ("ts,host,a\n2024-01-01 00:00:00,x,high\n", "'high'"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_by_its_column(text, message):
    with pytest.raises(InvalidInput, match=message):
        read_series(csv_table(text), NAMED, "-")


def test_columns_to_keep_are_checked_before_a_row_is_read():
    with pytest.raises(InvalidInput, match="--keep other: the input has no such column"):
        read_series(csv_table(TEXT), NAMED, "-", ["other"])
    with pytest.raises(InvalidInput, match="--keep id: the column appears more than once"):
        read_series(csv_table(TEXT), NAMED, "-", ["id", "id"])


def test_a_model_of_tables_is_no_model_of_series():
    from tests.support.batches import SCHEMA

    with pytest.raises(TypeError, match="not one of series"):
        read_series(csv_table(TEXT), SCHEMA, "-")
