"""Reading tables: no row lost, none invented, faults named, types judged."""

from __future__ import annotations

import contextlib
import csv
import io
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_vae.errors import ConfigError, InvalidInput
from anomaly_vae.table import CodeBook, open_table, open_writer
from anomaly_vae.table.arrays import spread
from anomaly_vae.table.csv import CsvTable


def read(table, columns=None, keep=(), book=None):
    """All rows, faults and kept columns of a table."""
    batches = list(table.batches(columns or table.names, keep, book))
    rows = np.concatenate([batch.rows for batch in batches]) if batches else np.empty((0, len(table.names)))
    faults = [fault and (fault.kind, fault.text) for batch in batches for fault in batch.faults]
    kept = pa.Table.from_batches([batch.kept for batch in batches]) if batches else None
    return rows, faults, kept


def from_text(text: str | bytes) -> CsvTable:
    data = text.encode() if isinstance(text, str) else text
    return CsvTable(io.BytesIO(data), "text", len(data))


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
    rows, faults, _ = read(from_text(text))
    np.testing.assert_array_equal(rows, [[1, 2], [3, 4.5]])
    assert faults == [None, None]


@pytest.mark.parametrize(
    ("cell", "fault"),
    [
        ("twelve", ("unreadable", "column 'b': 'twelve' is no number")),
        ("1_000", ("unreadable", "column 'b': '1_000' is no number")),
        ('"1,000"', ("unreadable", "column 'b': '1,000' is no number")),
        ("0x10", ("unreadable", "column 'b': '0x10' is no number")),
        ("inf", ("unreadable", "column 'b' is infinite")),
        ("1e999", ("unreadable", "column 'b' is infinite")),
        ("1,2", ("ragged", "the row has 3 cells, the header 2")),
    ],
)
def test_a_bad_cell_is_a_bad_row_not_a_failed_file(cell, fault):
    rows, faults, _ = read(from_text(f"a,b\n1,2\n5,{cell}\n3,4\n"))
    assert faults == [None, fault, None]
    np.testing.assert_array_equal(rows[[0, 2]], [[1, 2], [3, 4]])


@pytest.mark.parametrize("cell", ["", " ", "nan", "NaN", "NA", "n/a", "null", "None"])
def test_a_missing_cell_is_no_fault(cell):
    """Models are told which cells are there; the row is scored like any other."""
    rows, faults, _ = read(from_text(f"a,b\n1,2\n5,{cell}\n3,4\n"))
    assert faults == [None, None, None]
    np.testing.assert_array_equal(rows, [[1, 2], [5, np.nan], [3, 4]])


def test_a_row_with_a_missing_and_a_bad_cell_is_a_bad_row():
    _, faults, _ = read(from_text("a,b\n1,2\n,x\n,inf\n3,4\n"))
    assert [fault and fault[0] for fault in faults] == [None, "unreadable", "unreadable", None]


def test_ragged_rows_stay_in_their_place():
    """First, last, in runs, and next to blocks' edges: every row comes out once, in order."""
    rng = np.random.default_rng(0)
    lines, expected = ["a,b"], []
    for i in range(5000):
        ragged = i in (0, 4999) or 1020 < i < 1030 or rng.random() < 0.02
        lines.append(f"{i}" if ragged else f"{i},{i}.5")
        expected.append(None if ragged else float(i))
    rows, faults, kept = read(from_text("\n".join(lines)), ["b", "a"], keep=["a"])
    assert len(rows) == 5000
    assert [fault and fault[0] for fault in faults] == [None if i is not None else "ragged" for i in expected]
    assert [float(value) for value in kept["a"].to_pylist()] == list(range(5000))  # a ragged row keeps what it has
    good = [i for i, value in enumerate(expected) if value is not None]
    np.testing.assert_array_equal(rows[good], [[i + 0.5, i] for i in good])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=8)), max_size=20))
def test_what_pythons_csv_writes_we_read_to_the_last_bit(values):
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["x", "note"])
    writer.writerows((repr(x), note.replace("\x00", "").replace("\r", "")) for x, note in values)
    rows, faults, _ = read(from_text(buffer.getvalue().encode("utf-8", "replace")), ["x"])
    np.testing.assert_array_equal(rows[:, 0], [x for x, _ in values])
    assert not any(faults)


CITIES = "id,city\n1,Oslo\n2,Rome\n3,\n4,Oslo\n"


def test_a_column_of_text_where_the_model_has_numbers_is_wrongly_typed_and_named():
    with pytest.raises(InvalidInput, match=r"column 'city' holds text such as 'Oslo', expected numbers") as caught:
        read(from_text(CITIES))
    assert caught.value.field == "city"


def cities(ending, folder):
    """The same table as CSV, or as Parquet."""
    if ending == "csv":
        return from_text(CITIES)
    path = folder / "t.parquet"
    pq.write_table(pa.table({"id": [1, 2, 3, 4], "city": ["Oslo", "Rome", None, "Oslo"]}), path)
    return open_table(str(path))


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_column_of_text_becomes_categories_in_training(ending, tmp_path):
    book = CodeBook(grows=True)
    rows, faults, _ = read(cities(ending, tmp_path), book=book)
    np.testing.assert_array_equal(rows, [[1, 0], [2, 1], [3, np.nan], [4, 0]])
    assert faults == [None] * 4
    assert book.categories == {"city": ("Oslo", "Rome")}


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_column_of_text_is_read_with_the_categories_of_the_model(ending, tmp_path):
    """A text that is none of them is -1, which the model takes for new; the book of a model does not grow."""
    book = CodeBook({"city": ("Bonn", "Oslo")})
    rows, faults, _ = read(cities(ending, tmp_path), book=book)
    np.testing.assert_array_equal(rows, [[1, 1], [2, -1], [3, np.nan], [4, 1]])
    assert faults == [None] * 4
    assert book.categories == {"city": ("Bonn", "Oslo")}


def test_text_after_ten_thousand_rows_of_numbers_is_only_a_bad_row():
    rows, faults, _ = read(from_text("a\n" + "1\n" * 12_000 + "x\n"))
    assert len(rows) == 12_001
    assert faults[-1] == ("unreadable", "column 'a': 'x' is no number")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a;b\n1;2\n", "no commas"),
        (b"a\xff,b\n1,2\n", "no line of UTF-8"),
        ('a,b\n1,"2\n' + "3,4\n" * 2_000_000, "is a quote left open"),
    ],
)
def test_a_file_that_is_no_csv_is_explained(text, message):
    with pytest.raises(InvalidInput, match=message):
        read(from_text(text))


def test_a_header_without_rows_has_no_rows():
    rows, faults, _ = read(from_text("a,b\n"))
    assert rows.shape == (0, 2)
    assert faults == []


def test_one_column_may_have_blank_lines_as_missing_cells():
    rows, faults, _ = read(from_text("a\n1\n\n3\n"))
    np.testing.assert_array_equal(rows, [[1], [np.nan], [3]])
    assert faults == [None, None, None]


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
    with pytest.raises(InvalidInput, match="column 's' holds string, expected numbers"):
        read(open_table(str(path)), ["s"])


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_a_missing_or_damaged_file_is_explained(tmp_path, name):
    with pytest.raises(InvalidInput, match=rf"{name}: cannot be read"):
        open_table(str(tmp_path / name))


def test_a_parquet_file_that_is_none_is_explained(tmp_path):
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(InvalidInput, match=r"t\.parquet: damaged"):
        open_table(str(path))
    with pytest.raises(InvalidInput, match=r"ending in \.csv or \.parquet"):
        open_table(str(tmp_path / "t.xlsx"))


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_an_output_appears_only_when_complete(tmp_path, ending):
    path = tmp_path / f"out.{ending}"
    batch = pa.RecordBatch.from_pydict({"x": [1.0, None], "s": ["a", None]})
    with contextlib.suppress(ZeroDivisionError), open_writer(str(path), batch.schema, overwrite=False) as writer:
        writer.write(batch)
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with open_writer(str(path), batch.schema, overwrite=False) as writer:
        writer.write(batch)
        assert not path.exists()
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    rows, _, kept = read(open_table(str(path)), ["x"], keep=["s"])
    np.testing.assert_array_equal(rows, [[1.0], [np.nan]])
    assert kept["s"].to_pylist() == ["a", None]
    with pytest.raises(ConfigError, match="exists already"), open_writer(str(path), batch.schema, overwrite=False):
        pass
    if sys.platform != "win32":
        assert path.stat().st_mode & 0o777 == 0o644


def test_kept_columns_lose_nothing():
    """Namibia's country code is NA; a broken byte or row must still be recognisable."""
    text = b"\nid,a,b\nNA,1,2\nnull,1,2\n\xe9,x,2\nshort,1\n,1,2\nmany,1,2,3\n"
    rows, faults, kept = read(from_text(text), ["a", "b"], keep=["id"])
    assert kept["id"].to_pylist() == ["NA", "null", "\ufffd", "short", None, "many"]
    assert [fault and fault[0] for fault in faults] == [None, None, "unreadable", "ragged", None, "ragged"]
    np.testing.assert_array_equal(rows[[0, 1, 4]], [[1, 2]] * 3)


def test_an_open_quote_is_suspected():
    _, faults, _ = read(from_text('a,b\n1,2\n3,"4\n5,6\n7,8\n'))
    assert "is a quote left open?" in faults[-1][1]


def test_many_ragged_rows_cost_no_more_than_their_number():
    table = from_text("a,b\n" + "1\n" * 50_000 + "1,2\n")
    rows, faults, _ = read(table)
    assert len(rows) == 50_001
    assert sum(fault is not None for fault in faults) == 50_000


def test_a_file_that_appeared_meanwhile_is_not_replaced(tmp_path):
    """Two jobs with one output: the slower one must not destroy what the faster one wrote."""
    path = tmp_path / "out.csv"
    batch = pa.RecordBatch.from_pydict({"x": [1.0]})
    writer = open_writer(str(path), batch.schema, overwrite=False)
    with pytest.raises(ConfigError, match="appeared meanwhile"), writer as out:  # noqa: PT012
        out.write(batch)
        path.write_text("theirs")
    assert path.read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [path]


def test_values_are_spread_over_usable_rows_and_nan_becomes_null():
    place = np.array([True, False, True, True])
    assert spread(np.array([1.5, np.nan, 3.0]), place).to_pylist() == [1.5, None, None, 3.0]
    assert spread(np.array([True, False, True]), place).to_pylist() == [True, None, False, True]


def test_a_device_that_fails_while_reading_is_blamed_on_the_input():
    """Not on the output that was open at the time."""

    class Failing(io.BytesIO):
        def read(self, _size=-1):
            raise OSError(5, "Input/output error")

    with pytest.raises(InvalidInput, match=r"text: cannot be read: .*Input/output error"):
        read(CsvTable(Failing(b"a,b\n1,2\n"), "text", 8))
