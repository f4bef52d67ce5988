"""A table: faults stay in their rows, texts become the codes of categories, and drift is refused by name."""

from __future__ import annotations

import contextlib
import csv
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_vae.columns.reading.missing import Markers
from anomaly_vae.columns.reading.records import NumberReading, TimeReading
from anomaly_vae.errors import AnomalyVaeWarning, InvalidInput
from anomaly_vae.table import ReadOptions, Table, open_table
from anomaly_vae.table.sources.files import open_pipe
from tests.support.tables import CITIES, csv_table, read, reader_of


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


@pytest.mark.parametrize("cell", ["", " ", "nan", "NaN", "NA", "n/a", "null", "None", "-", "unknown"])
def test_a_missing_cell_is_not_a_fault(cell):
    """The model receives a mask of the missing cells, so the row can be scored."""
    rows, faults, _ = read(csv_table(f"a,b\n1,2\n5,{cell}\n3,4\n"))
    assert faults == [None, None, None]
    np.testing.assert_array_equal(rows, [[1, 2], [5, np.nan], [3, 4]])


def test_a_row_with_a_missing_and_a_bad_cell_is_a_bad_row():
    _, faults, _ = read(csv_table("a,b\n1,2\n,x\n,inf\n3,4\n"))
    assert [fault and fault[0] for fault in faults] == [None, "unreadable", "unreadable", None]


def test_a_fault_of_the_file_counts_before_one_of_a_cell():
    _, faults, _ = read(csv_table("a,b\n1,2\nx\n"))
    assert faults == [None, ("ragged", "the row has 1 cells, the header 2")]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-1e15, 1e15), st.text(max_size=8)), max_size=20))
def test_numbers_written_by_pythons_csv_are_read_bit_for_bit(values):
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["x", "note"])
    writer.writerows((repr(x), "n" + note.replace("\x00", "").replace("\r", "")) for x, note in values)
    text = buffer.getvalue().encode("utf-8", "replace")
    rows, faults, _ = read(csv_table(text, separator=",", decimal=".", encoding="utf-8"), ["x"])
    np.testing.assert_array_equal(rows[:, 0], [x for x, _ in values])
    assert not any(faults)


def test_text_after_ten_thousand_rows_of_numbers_is_only_a_bad_row():
    rows, faults, _ = read(csv_table("a\n" + "1\n" * 12_000 + "x\n"))
    assert len(rows) == 12_001
    assert faults[-1] == ("unreadable", "column 'a': 'x' is not a number")


def test_kept_columns_lose_nothing():
    """Kept texts such as NA (the country code of Namibia) are not nulls, and ragged rows keep the cells they have."""
    text = "\nid,a,b\nNA,1,2\nnull,1,2\né,x,2\nshort,1\n,1,2\nmany,1,2,3\n"
    rows, faults, kept = read(csv_table(text), ["a", "b"], keep=["id"])
    assert kept["id"].to_pylist() == ["NA", "null", "é", "short", None, "many"]
    assert [fault and fault[0] for fault in faults] == [None, None, "unreadable", "ragged", None, "ragged"]
    np.testing.assert_array_equal(rows[[0, 1, 4]], [[1, 2]] * 3)


def test_a_column_may_be_read_and_kept():
    rows, _, kept = read(csv_table("a,b\n1.50,x\n"), ["a"], keep=["b", "a"])
    np.testing.assert_array_equal(rows, [[1.5]])
    assert kept.to_pydict() == {"b": ["x"], "a": ["1.50"]}


def test_parquet_types_are_judged_by_the_schema(tmp_path):
    path = tmp_path / "t.parquet"
    columns = {
        "i": pa.array([1, None, 3], pa.int64()),
        "b": pa.array([True, False, True]),
        "d": pa.array([1, 2, 3]).cast(pa.decimal128(21, 2)),
        "f": pa.array([0.5, 1.5, float("inf")], pa.float32()),
        "s": pa.array(["x", "y", "z"]),
    }
    pq.write_table(pa.table(columns), path)
    rows, faults, kept = read(open_table(str(path)), ["f", "i", "b", "d"], keep=["s", "i"])
    np.testing.assert_array_equal(rows, [[0.5, 1, 1, 1], [1.5, np.nan, 0, 2], [np.inf, 3, 1, 3]])
    assert faults == [None, None, ("unreadable", "column 'f' is infinite")]
    assert kept.to_pydict() == {"s": ["x", "y", "z"], "i": [1, None, 3]}
    with pytest.raises(InvalidInput, match="column 's' holds text such as 'x', expected numbers as in training"):
        read(open_table(str(path)), ["s"])


def cities(ending, folder):
    """The same table as CSV, or as Parquet."""
    if ending == "csv":
        return csv_table(CITIES)
    path = folder / "t.parquet"
    pq.write_table(pa.table({"id": [1, 2, 3, 4], "city": ["Oslo", "Rome", None, "Oslo"]}), path)
    return open_table(str(path))


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_column_of_text_becomes_categories_in_training(ending, tmp_path):
    reader = reader_of("id", texts={"city": ()}, grows=True)
    rows, faults, _ = read(cities(ending, tmp_path), reader)
    np.testing.assert_array_equal(rows, [[1, 0], [2, 1], [3, np.nan], [4, 0]])
    assert faults == [None] * 4
    assert reader.book.categories == {"city": ("Oslo", "Rome")}


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_column_of_text_is_read_with_the_categories_of_the_model(ending, tmp_path):
    """A text that is not a category becomes -1, which the model treats as novel; no category is added."""
    reader = reader_of("id", texts={"city": ("Bonn", "Oslo")})
    rows, faults, _ = read(cities(ending, tmp_path), reader)
    np.testing.assert_array_equal(rows, [[1, 1], [2, -1], [3, np.nan], [4, 1]])
    assert faults == [None] * 4
    assert reader.book.categories == {"city": ("Bonn", "Oslo")}


def test_samples_show_the_first_cells_and_cost_no_row(tmp_path):
    table = csv_table("a,b,c\n1,x,7\n2,-,8\n,y,9\n")
    samples = table.samples(["a", "b"], Markers())
    assert {name: (each.form, dict(each.texts)) for name, each in samples.items()} == {
        "a": ("number", {}),
        "b": ("text", {"x": 1, "y": 1}),
    }
    rows, _, _ = read(table, ["a"])
    np.testing.assert_array_equal(rows, [[1], [2], [np.nan]])
    path = tmp_path / "t.jsonl"
    path.write_text('{"a": 1, "b": {"c": 2}}\n')
    nested = open_table(str(path)).samples(["a", "b"], Markers())
    assert (nested["a"].form, nested["b"].form, nested["b"].described) == (
        "number", "unusable", "nested values (objects)",
    )  # fmt: skip


def test_a_number_column_follows_the_decimal_mark_of_the_file():
    """The same table saved by a spreadsheet in another country is read the same."""
    expected = [[1.5, 1234.5], [2.25, 7.25]]
    for text in ("a;b\n1,5;1.234,5\n2,25;7,25\n", 'a,b\n1.5,"1,234.5"\n2.25,7.25\n'):
        reader = reader_of(a=NumberReading(), b=NumberReading(thousands=","))
        rows, faults, _ = read(csv_table(text), reader)
        assert faults == [None, None]
        np.testing.assert_array_equal(rows, expected)


@pytest.mark.parametrize("others", ["", "2,50\ta\n"])
@pytest.mark.parametrize("tag", ["3,4", "3.4", "a"])
def test_the_decimal_mark_does_not_follow_columns_that_are_not_numbers(tag, others):
    """1.234 alone leaves its mark open: an ignored column that looks like a number must not decide it."""
    mark = NumberReading(decimal=",", thousands=".")
    is_open = pytest.warns(AnomalyVaeWarning, match=r"cells such as '1\.234' in column 'x' are read with .* mark ','")
    with contextlib.nullcontext() if others else is_open:
        rows, faults, _ = read(csv_table(f"x\ttags\n1.234\t{tag}\n{others}"), reader_of(x=mark))
    assert (rows[0, 0], faults[0]) == (1234.0, None)


def test_a_text_of_json_keeps_the_decimal_mark_of_training():
    """A row is read alike alone and beside others; only a number of JSON has a point for certain."""
    mark = NumberReading(decimal=",", thousands=".")
    for row, value in (('{"x": "1.234", "y": 0.5}', 1234.0), ('{"x": 1.234, "y": 0.5}', 1.234)):
        rows, faults, _ = read(json_table(f"{row}\n"), reader_of("y", x=mark))
        assert (rows[0].tolist(), faults) == ([0.5, value], [None])
    rows, _, _ = read(json_table('{"x": "1.234"}\n{"x": "1.234,5"}\n'), reader_of(x=mark))
    np.testing.assert_array_equal(rows, [[1234.0], [1234.5]])


def json_table(text):
    return Table(open_pipe(io.BytesIO(text.encode()), "text", ReadOptions()))


def test_markers_of_this_table_are_added_to_those_of_the_model():
    reader = reader_of("a", texts={"city": ("Oslo",)}, markers=("gone",))
    rows, faults, _ = read(csv_table("a,city\n-1,Oslo\n2,gone\n3,none yet\n", ["-1", "none yet"]), reader)
    np.testing.assert_array_equal(rows, [[np.nan, 0], [2, np.nan], [3, np.nan]])
    assert faults == [None] * 3


@pytest.mark.parametrize(
    ("text", "reading", "found", "expected"),
    [
        (CITIES, NumberReading(), "text such as 'Oslo'", "numbers"),
        ("city\n12\n13\n", TimeReading(), "text such as '12'", "dates and times such as 2024-01-31"),
        ("city\n2024-01-31\n2024-02-01\n", NumberReading(), "text such as '2024-01-31'", "numbers"),
        ('city\n"1\n2"\n', NumberReading(), "text such as '1\\n2' (is a quote left open?)", "numbers"),
    ],
)
def test_a_column_of_which_no_cell_can_be_read_is_refused_by_name(text, reading, found, expected):
    with pytest.raises(InvalidInput) as error:
        read(csv_table(text), reader_of(city=reading))
    assert f"text: column 'city' holds {found}, expected {expected} as in training" in str(error.value)
    assert error.value.field == "city"


def test_a_column_of_which_no_category_is_known_is_a_warning():
    """Each row would be flagged for its new category; that all are new is worth a word of its own."""
    reader = reader_of(texts={"city": ("Bonn", "Oslo")})
    with pytest.warns(UserWarning, match=r"none of the first 25 values of column 'city', such as 'Rom', was in the"):
        rows, _, _ = read(csv_table("city\n" + "Rom\n" * 25), reader)
    np.testing.assert_array_equal(rows, np.full((25, 1), -1.0))
    read(csv_table("city\n" + "Rom\n" * 24 + "Oslo\n"), reader)  # one is known: no warning
    read(csv_table("city\nRom\n"), reader)  # too few to judge
    with pytest.warns(UserWarning, match=r"none of the first 25 values of column 'city', such as '17', was"):
        read(csv_table("city\n" + "17\n" * 25), reader)


def test_a_column_with_points_in_a_file_with_commas_is_read_by_its_own_cells():
    text = 'a,b\n1.25,"1,5"\n2.5,"2,5"\n'
    reader = reader_of(a=NumberReading(decimal=","), b=NumberReading(decimal=","))
    rows, faults, _ = read(csv_table(text), reader)
    assert faults == [None, None]
    np.testing.assert_array_equal(rows, [[1.25, 1.5], [2.5, 2.5]])


def test_a_header_without_rows_has_no_rows():
    rows, faults, _ = read(csv_table("a,b\n"))
    assert rows.shape == (0, 2)
    assert faults == []
    assert csv_table("a,b\n").schema_of(["b"]) == pa.schema([("b", pa.string())])


def test_progress_is_that_of_the_source(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a\n1\n")
    table = open_table(str(path))
    read(table)
    assert table.progress() == (4, 4)
