"""Cells of CSV become numbers, all at once or one by one, with the same result."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_vae.errors import InvalidInput
from anomaly_vae.table.cells import CellCounts, decode_column, parse_column, text_cells

BAD = b"?"  # sends a column to the conversion cell by cell


def binary(*cells: bytes | None) -> pa.Array:
    return pa.array(cells, pa.binary())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=8))
def test_one_bad_cell_does_not_change_the_numbers_beside_it(values):
    """With it, Python parses each cell; without it, Arrow parses the column: both give the float that was written."""
    cells = [repr(value).encode() for value in values]
    whole, no_texts = parse_column(binary(*cells))
    single, texts = parse_column(binary(BAD, *cells))
    np.testing.assert_array_equal(whole, values)
    np.testing.assert_array_equal(single[1:], values)
    assert no_texts == {}
    assert (texts, math.isnan(single[0])) == ({0: "?"}, True)


@pytest.mark.parametrize("cell", [None, b"", b"  ", b"NA", b"n/a", b"NaN", b"null", b"None"])
def test_missing_cells_are_nan_and_no_texts(cell):
    values, texts = parse_column(binary(b"1", cell, BAD))
    np.testing.assert_array_equal(values, [1.0, np.nan, np.nan])
    assert texts == {2: "?"}


@pytest.mark.parametrize(
    ("cell", "text"), [(b"1_000", "1_000"), (b" x ", "x"), (b"1,5", "1,5"), (b"\xff1", "\ufffd1"), (b"0x10", "0x10")]
)
def test_a_cell_that_is_no_number_is_returned_by_its_position(cell, text):
    """Python would read 1_000 as 1000."""
    values, texts = parse_column(binary(b"2", cell))
    assert texts == {1: text}
    np.testing.assert_array_equal(values, [2.0, np.nan])


def test_a_slice_of_a_column_is_read_at_its_own_place():
    """Arrow shares the buffers of a slice with the whole column."""
    column = binary(b"1", b"2", b"3", b"4")
    np.testing.assert_array_equal(parse_column(column.slice(1, 2))[0], [2.0, 3.0])


def test_texts_are_kept_as_they_are_and_broken_bytes_stay_visible():
    cells = binary(b"Oslo", None, b"\xe9", b"")
    assert decode_column(cells).to_pylist() == ["Oslo", None, "\ufffd", ""]
    assert decode_column(cells.slice(0, 2)).to_pylist() == ["Oslo", None]
    assert decode_column(cells).type == pa.string()
    assert text_cells(binary(b"Oslo", None, b"NA", b"")) == ["Oslo", None, None, None]


def test_a_column_with_more_texts_than_numbers_is_a_column_of_text():
    counts = CellCounts(["a", "b", "c"], "t.csv")
    counts.add(0, 2, ["x", "y"])
    counts.add(1, 1, ["x"])
    counts.add(1, 0, ["y"])
    counts.add(2, 0, [])
    assert counts.mostly_text() == ["b"]
    counts.check()  # every column with a text has a number too


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("Oslo", "text such as 'Oslo', expected numbers"),
        ("1\n2", "(is a quote left open?)"),
        ("x" * 99, f"'{'x' * 40}'"),
    ],
)
def test_texts_without_any_number_are_refused_with_the_first_of_them(text, part):
    counts = CellCounts(["a", "b"], "t.csv")
    counts.add(0, 5, [])
    counts.add(1, 0, [text])
    counts.add(1, 0, ["later"])
    with pytest.raises(InvalidInput) as error:
        counts.check()
    assert str(error.value).startswith("t.csv: column 'b' holds ")
    assert part in str(error.value)
    assert error.value.field == "b"
