"""CSV: every row is read once, faults are explained, text columns are found."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_vae.errors import InvalidInput
from anomaly_vae.table.csv import CsvTable
from tests.support.tables import CITIES, csv_table, read


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,2\n3,4.5\n",
        "a,b\n1,2\n3,4.5",
        "a,b\r\n1,2\r\n3,4.5\r\n",
        "\ufeffa,b\n1,2\n3,4.5\n",
        '"a","b"\n"1","2"\n"3","4.5"\n',
        "a, b\n+1, 2 \n3,45e-1\n",
        "a,b\n\n1,2\n\n\n3,4.5\n\n",
    ],
)
def test_the_ways_to_write_a_csv(text):
    rows, faults, _ = read(csv_table(text))
    np.testing.assert_array_equal(rows, [[1, 2], [3, 4.5]])
    assert faults == [None, None]


@pytest.mark.parametrize(
    ("cell", "fault"),
    [
        ("twelve", ("unreadable", "column 'b': 'twelve' is not a number")),
        ("1_000", ("unreadable", "column 'b': '1_000' is not a number")),
        ('"1,000"', ("unreadable", "column 'b': '1,000' is not a number")),
        ("0x10", ("unreadable", "column 'b': '0x10' is not a number")),
        ("inf", ("unreadable", "column 'b' is infinite")),
        ("1e999", ("unreadable", "column 'b' is infinite")),
        ("1,2", ("ragged", "the row has 3 cells, the header 2")),
    ],
)
def test_a_bad_cell_is_a_bad_row_not_a_failed_file(cell, fault):
    rows, faults, _ = read(csv_table(f"a,b\n1,2\n5,{cell}\n3,4\n"))
    assert faults == [None, fault, None]
    np.testing.assert_array_equal(rows[[0, 2]], [[1, 2], [3, 4]])


@pytest.mark.parametrize("cell", ["", " ", "nan", "NaN", "NA", "n/a", "null", "None"])
def test_a_missing_cell_is_not_a_fault(cell):
    """The model receives a mask of the missing cells, so the row can be scored."""
    rows, faults, _ = read(csv_table(f"a,b\n1,2\n5,{cell}\n3,4\n"))
    assert faults == [None, None, None]
    np.testing.assert_array_equal(rows, [[1, 2], [5, np.nan], [3, 4]])


def test_a_row_with_a_missing_and_a_bad_cell_is_a_bad_row():
    _, faults, _ = read(csv_table("a,b\n1,2\n,x\n,inf\n3,4\n"))
    assert [fault and fault[0] for fault in faults] == [None, "unreadable", "unreadable", None]


def test_ragged_rows_stay_in_their_place():
    """Ragged rows come first, last, in runs and at the edges of batches; every row is returned once, in order."""
    rng = np.random.default_rng(0)
    lines, expected = ["a,b"], []
    for i in range(5000):
        ragged = i in (0, 4999) or 1020 < i < 1030 or rng.random() < 0.02
        lines.append(f"{i}" if ragged else f"{i},{i}.5")
        expected.append(None if ragged else float(i))
    rows, faults, kept = read(csv_table("\n".join(lines)), ["b", "a"], keep=["a"])
    assert len(rows) == 5000
    assert [fault and fault[0] for fault in faults] == [None if i is not None else "ragged" for i in expected]
    assert [float(value) for value in kept["a"].to_pylist()] == list(range(5000))  # the cells of a ragged row are kept
    good = [i for i, value in enumerate(expected) if value is not None]
    np.testing.assert_array_equal(rows[good], [[i + 0.5, i] for i in good])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=8)), max_size=20))
def test_numbers_written_by_pythons_csv_are_read_bit_for_bit(values):
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["x", "note"])
    writer.writerows((repr(x), note.replace("\x00", "").replace("\r", "")) for x, note in values)
    rows, faults, _ = read(csv_table(buffer.getvalue().encode("utf-8", "replace")), ["x"])
    np.testing.assert_array_equal(rows[:, 0], [x for x, _ in values])
    assert not any(faults)


def test_a_text_column_where_the_model_has_numbers_is_refused_by_name():
    with pytest.raises(InvalidInput, match=r"column 'city' holds text such as 'Oslo', expected numbers") as caught:
        read(csv_table(CITIES))
    assert caught.value.field == "city"


def test_text_after_ten_thousand_rows_of_numbers_is_only_a_bad_row():
    rows, faults, _ = read(csv_table("a\n" + "1\n" * 12_000 + "x\n"))
    assert len(rows) == 12_001
    assert faults[-1] == ("unreadable", "column 'a': 'x' is not a number")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a;b\n1;2\n", "no commas"),
        (b"a\xff,b\n1,2\n", "not a line of UTF-8"),
        ('a,b\n1,"2\n' + "3,4\n" * 2_000_000, "is a quote left open"),
    ],
)
def test_a_file_that_is_not_csv_is_explained(text, message):
    with pytest.raises(InvalidInput, match=message):
        read(csv_table(text))


def test_a_header_without_rows_has_no_rows():
    rows, faults, _ = read(csv_table("a,b\n"))
    assert rows.shape == (0, 2)
    assert faults == []


def test_one_column_may_have_blank_lines_as_missing_cells():
    rows, faults, _ = read(csv_table("a\n1\n\n3\n"))
    np.testing.assert_array_equal(rows, [[1], [np.nan], [3]])
    assert faults == [None, None, None]


def test_kept_columns_lose_nothing():
    """Kept texts such as NA (the country code of Namibia) are not nulls; broken bytes and rows stay recognisable."""
    text = b"\nid,a,b\nNA,1,2\nnull,1,2\n\xe9,x,2\nshort,1\n,1,2\nmany,1,2,3\n"
    rows, faults, kept = read(csv_table(text), ["a", "b"], keep=["id"])
    assert kept["id"].to_pylist() == ["NA", "null", "\ufffd", "short", None, "many"]
    assert [fault and fault[0] for fault in faults] == [None, None, "unreadable", "ragged", None, "ragged"]
    np.testing.assert_array_equal(rows[[0, 1, 4]], [[1, 2]] * 3)


def test_the_message_suggests_an_open_quote():
    _, faults, _ = read(csv_table('a,b\n1,2\n3,"4\n5,6\n7,8\n'))
    assert "is a quote left open?" in faults[-1][1]


def test_many_ragged_rows_are_read_in_linear_time():
    table = csv_table("a,b\n" + "1\n" * 50_000 + "1,2\n")
    rows, faults, _ = read(table)
    assert len(rows) == 50_001
    assert sum(fault is not None for fault in faults) == 50_000


def test_a_read_error_names_the_input():
    """The message must not name the output, which is open at the same time."""

    class Failing(io.BytesIO):
        def read(self, _size=-1):
            raise OSError(5, "Input/output error")

    with pytest.raises(InvalidInput, match=r"text: cannot be read: .*Input/output error"):
        read(CsvTable(Failing(b"a,b\n1,2\n"), "text", 8))
