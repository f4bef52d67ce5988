"""Rows by label: which are normal, which are left out, and which labels are refused."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.cli.labelled_rows import check_label, read_normal_rows
from anomaly_vae.columns.reading.records import NumberReading
from anomaly_vae.errors import InvalidInput
from tests.support.tables import csv_table, reader_of


def read(text, columns=("a", "b"), label="bad", *, grows=True):
    rows = read_normal_rows(csv_table(text), reader_of(*columns, grows=grows), label, quiet=True)
    return rows.normal, rows.anomalous


def test_rows_are_separated_by_label_and_keep_their_order(capsys):
    normal, anomalous = read("a,bad,b\n1,0,2\n3,1,4\n5,0,\n7,1.0,8\n")
    np.testing.assert_array_equal(normal, [[1, 2], [5, np.nan]])
    np.testing.assert_array_equal(anomalous, [[3, 4], [7, 8]])
    assert capsys.readouterr().err == ""


def test_a_label_may_be_true_or_false():
    normal, anomalous = read("a,b,bad\n1,2,true\n3,4,False\n")
    np.testing.assert_array_equal(normal, [[3, 4]])
    np.testing.assert_array_equal(anomalous, [[1, 2]])


def test_without_a_label_all_rows_are_normal():
    normal, anomalous = read("a,b\n1,2\n3,4\n", label=None)
    np.testing.assert_array_equal(normal, [[1, 2], [3, 4]])
    assert anomalous.shape == (0, 2)


def test_a_label_of_zeros_only_is_allowed():
    normal, anomalous = read("a,b,bad\n1,2,0\n")
    assert (normal.shape, anomalous.shape) == ((1, 2), (0, 2))


def test_rows_without_a_label_or_with_a_bad_cell_are_left_out_with_a_warning(capsys):
    normal, _ = read("a,b,bad\n1,2,0\n3,inf,0\n5,6,\n" + "7,8,0\n" * 20)
    np.testing.assert_array_equal(normal, [[1, 2], *[[7, 8]] * 20])
    assert capsys.readouterr().err.splitlines() == [
        "anomaly-vae: warning: 1 of 23 rows cannot be used and are left out, from row 2 on: "
        "column 'b' is infinite (1 row)",
        "anomaly-vae: warning: 1 of 22 rows have no value in bad; they are left out",
    ]


def test_the_texts_that_left_rows_out_are_counted_and_a_large_share_has_a_remedy(capsys):
    text = "a,b\n" + "1,2\n" * 50 + "1,bad\n" * 7 + "x,2\n" * 3 + "".join(f"1,w{i}\n" for i in range(6))
    normal, _ = read(text, label=None)
    assert len(normal) == 50
    (line,) = capsys.readouterr().err.splitlines()
    assert "16 of 66 rows cannot be used and are left out, from row 51 on: column 'b': 'bad' is not a" in line
    assert "column 'b': 'bad' is not a number (7 rows); column 'a': 'x' is not a number (3 rows); " in line
    assert "; and 3 more kinds" in line
    assert "if such a text means a missing cell, give --missing-values TEXT" in line


def test_a_table_without_a_single_usable_row_is_refused():
    with pytest.raises(InvalidInput, match=r"text: no row can be used: column 'b' is infinite \(2 rows\)"):
        read("a,b\n1,inf\n2,inf\n", label=None)


@pytest.mark.parametrize(
    ("text", "columns", "label", "message"),
    [
        ("a,b\n1,2\n", ("a", "b"), "bad", "--label bad: the input has no such column; it has a, b"),
        ("a,b\n1,0\n", ("a", "b"), "b", "--label b: it is one of the model's columns"),
        ("a,b,b\n1,0,0\n", ("a",), "b", "--label b: the column appears more than once"),
        ("a,b\n1,2\n", ("a",), "b", r"--label b: expected 0 \(normal\) or 1 \(anomaly\) in every row, found 2"),
        ("a,b\n1,0\n1,-1\n", ("a",), "b", "--label b: expected 0 .* found -1"),
        ("a,b\n1,yes\n", ("a",), "b", "--label b: expected 0 .* found text"),
    ],
)
@pytest.mark.parametrize("grows", [True, False])
def test_a_label_that_is_not_0_or_1_is_refused(text, columns, label, message, grows):
    """Training reads texts as categories (the book grows) and calibration does not; both must refuse a text."""
    with pytest.raises(InvalidInput, match=message):
        read(text, columns, label, grows=grows)


def test_a_label_is_checked_before_a_row_is_read():
    table = csv_table("a,b,b\n1,2,3\n")
    check_label(table, ["a"], None)
    for label in ("a", "b", "c"):
        with pytest.raises(InvalidInput, match=f"--label {label}: "):
            check_label(table, ["a"], label)


def test_a_column_of_text_among_the_model_s_keeps_its_own_error():
    with pytest.raises(InvalidInput, match="column 'b' holds text such as 'x', expected numbers") as error:
        read("a,b,bad\n1,x,0\n", grows=False)
    assert error.value.field == "b"


def test_a_label_follows_the_decimal_mark_of_the_file():
    """A spreadsheet may write 1 as 1,0."""
    readings = {"a": NumberReading(decimal=",")}
    table = csv_table("a;bad\n1,5;0,0\n2,5;1,0\n")
    rows = read_normal_rows(table, reader_of(**readings, grows=True), "bad", quiet=True)
    np.testing.assert_array_equal(rows.normal, [[1.5]])
    np.testing.assert_array_equal(rows.anomalous, [[2.5]])


def test_a_wrong_label_is_shown_even_after_rows_without_one():
    with pytest.raises(InvalidInput, match=r"--label bad: expected 0 .* found 2"):
        read("a,b,bad\n1,2,\n3,4,2\n")
