"""Written files are complete, hold what was written, and do not replace existing ones."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import io
import sys
from types import SimpleNamespace

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anomaly_vae.errors import AnomalyVaeWarning, ConfigError
from anomaly_vae.table.output import ENDINGS, check_ending, open_writer, refuse_output, refuse_type
from anomaly_vae.table.sources import open_source
from tests.support.sources import cells


def write(path, *batches, overwrite=False):
    with open_writer(str(path), batches[0].schema, overwrite=overwrite) as writer:
        for batch in batches:
            writer.write(batch)


@pytest.mark.filterwarnings("ignore:.*left out. s$")
@pytest.mark.parametrize("ending", ENDINGS)
def test_an_output_appears_only_when_complete(tmp_path, ending):
    path = tmp_path / f"out{ending}"
    batch = pa.RecordBatch.from_pydict({"x": [1.5, None], "s": ["a,\t\n", None]})
    with contextlib.suppress(ZeroDivisionError), open_writer(str(path), batch.schema, overwrite=False) as writer:
        writer.write(batch)
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with open_writer(str(path), batch.schema, overwrite=False) as writer:
        writer.write(batch)
        writer.write(batch)
        assert not path.exists()
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    source = open_source(str(path))
    assert source.notes == ()
    columns, faults = cells(source)
    assert not any(faults)
    if ending == ".npy":
        np.testing.assert_array_equal(columns["x0"], [1.5, np.nan, 1.5, np.nan])
    else:
        assert columns["s"] == ["a,\t\n", None] * 2
        assert [cell and float(cell) for cell in columns["x"]] == [1.5, None] * 2
    with pytest.raises(ConfigError, match="exists already"), open_writer(str(path), batch.schema, overwrite=False):
        pass
    write(path, batch, overwrite=True)
    if sys.platform != "win32":
        assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_table_without_rows_is_a_complete_file(tmp_path, ending):
    path = tmp_path / f"out{ending}"
    with open_writer(str(path), pa.schema([("x", pa.float64())]), overwrite=False):
        pass
    if not ending.startswith((".jsonl", ".ndjson")):
        assert len(cells(open_source(str(path)))[1]) == 0


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=20))
def test_floats_in_csv_are_exact(tmp_path, values):
    write(tmp_path / "out.csv", pa.RecordBatch.from_arrays([pa.array(values)], names=["x"]), overwrite=True)
    columns, _ = cells(open_source(str(tmp_path / "out.csv")))
    assert [float(cell) for cell in columns["x"]] == values


TIME = datetime.datetime(2024, 1, 2, 3, 4, 5)
COLUMNS = {
    "float16": pa.array([1.5, None]).cast(pa.float16()),
    "uint64": pa.array([2**64 - 1, None], pa.uint64()),
    "bool": pa.array([True, None]),
    "decimal": pa.array([decimal.Decimal("1.50"), None]),
    "null": pa.nulls(2),
    "string": pa.array(["a", None]),
    "view": pa.array(["a", None]).cast(pa.string_view()),
    "large": pa.array(["a", None]).cast(pa.large_string()),
    "dictionary": pa.array(["a", None]).dictionary_encode(),
    "timestamp": pa.array([TIME, None]),
    "zone": pa.array([TIME, None], pa.timestamp("us", "UTC")),
    "date": pa.array([TIME.date(), None]),
    "time": pa.array([TIME.time(), None]),
    "duration": pa.array([1, None]).cast(pa.duration("s")),
    "interval": pa.array([pa.MonthDayNano([1, 2, 3]), None]),
    "binary": pa.array([b"\xff", None]),
    "fixed": pa.array([b"\xff", None], pa.binary(1)),
    "binary view": pa.array([b"\xff", None]).cast(pa.binary_view()),
    "list": pa.array([[1], None]),
    "struct": pa.array([{"a": 1}, None]),
    "extension": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0123456789abcdef", None], pa.binary(16))),
    "runs": pa.RunEndEncodedArray.from_arrays(pa.array([1, 2]), pa.array([1.5, 2.5])),
}
NUMBERS = {"float16", "uint64", "bool", "decimal", "null"}
NO_TEXT = {"interval", "binary", "fixed", "binary view", "extension", "runs"}
REFUSED = {
    ".csv": NO_TEXT | {"list", "struct"},
    ".tsv.gz": NO_TEXT | {"list", "struct"},
    ".jsonl": NO_TEXT,
    ".parquet": {"interval", "runs"},
    ".arrow": set(),
    ".feather": set(),
    ".npy": set(COLUMNS) - NUMBERS,
}


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("ending", REFUSED)
def test_types_that_do_not_fit_are_refused_and_all_others_are_written(tmp_path, ending, name):
    path, column = tmp_path / f"out{ending}", COLUMNS[name]
    reason = refuse_type(str(path), column.type)
    assert (reason is not None) == (name in REFUSED[ending])
    if reason is None:
        batch = pa.RecordBatch.from_arrays([column], names=["x"])
        write(path, batch, batch)
        found, _ = cells(open_source(str(path)))
        assert [len(values) for values in found.values()] == [4]
    else:
        assert "does not fit in" in reason
        assert "; write a" in reason


def test_the_reason_names_formats_that_fit():
    kind = pa.list_(pa.int64())
    assert refuse_type("-", kind) == f"{kind} does not fit in CSV; write a .parquet, .arrow or .jsonl file"
    assert refuse_type("a.npy", pa.string()) == "string does not fit in a .npy file; write a .csv or .parquet file"
    assert refuse_type("a.npy", kind) == f"{kind} does not fit in a .npy file; write a .parquet or .arrow file"
    assert refuse_type("-", pa.string()) is None
    assert refuse_type("-", kind) is not None


def test_dictionaries_may_differ_between_batches(tmp_path):
    batches = [
        pa.RecordBatch.from_arrays([pa.array(values).dictionary_encode()], names=["d"])
        for values in (["a", "b"], ["c", "a"])
    ]
    for ending in (".arrow", ".feather", ".parquet", ".csv", ".jsonl"):
        write(tmp_path / f"out{ending}", *batches)
        assert cells(open_source(str(tmp_path / f"out{ending}")))[0] == {"d": ["a", "b", "c", "a"]}, ending


@pytest.mark.parametrize("ending", [".csv.gz", ".csv.zst", ".feather", ".parquet", ".npy"])
def test_equal_tables_give_equal_files(tmp_path, ending):
    batch = pa.RecordBatch.from_pydict({"x": [0.1, None], "n": [1, 2]})
    for name in ("a", "b"):
        write(tmp_path / f"{name}{ending}", batch)
    assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()


def test_other_programs_read_the_files(tmp_path):
    batch = pa.RecordBatch.from_pydict({"x": [0.1, None], "s": ["a;\t", None]})
    for ending in (".csv.gz", ".csv.zst", ".tsv", ".jsonl.gz", ".feather", ".parquet"):
        write(tmp_path / f"out{ending}", batch)
    frames = [
        pandas.read_csv(tmp_path / "out.csv.gz"),
        pandas.read_csv(tmp_path / "out.tsv", sep="\t"),
        pandas.read_json(tmp_path / "out.jsonl.gz", lines=True),
        pandas.read_feather(tmp_path / "out.feather"),
        pandas.read_parquet(tmp_path / "out.parquet"),
    ]
    for frame in frames:
        assert frame["x"].isna().tolist() == [False, True]
        assert frame["x"][0] == 0.1
        assert frame["s"][0] == "a;\t"


def test_endings_that_are_unknown_are_refused():
    for path in ("out.xlsx", "out", ".csv", "a/.parquet", "out.parquet.gz", "out.gz"):
        with pytest.raises(ConfigError, match=r"expected a file ending in \.csv, .*or \.npy, or - for CSV"):
            check_ending(path)
    assert check_ending("A.CSV.GZ").name == "A.CSV.GZ"


def test_a_matrix_needs_a_number(tmp_path):
    with pytest.raises(ConfigError, match="no column is a number"):
        write(tmp_path / "out.npy", pa.RecordBatch.from_pydict({"s": ["a"]}))


def test_standard_output_is_csv(monkeypatch):
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=out))
    write("-", pa.RecordBatch.from_pydict({"x": [0.1, None], "s": ["a", None]}))
    assert out.getvalue() == b'"x","s"\n0.1,"a"\n,\n'
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(ConfigError, match="standard output is closed"):
        write("-", pa.RecordBatch.from_pydict({"x": [0.1]}))


def test_a_file_that_appeared_meanwhile_is_not_replaced(tmp_path):
    """If two jobs have the same output, the slower one must not replace the file of the faster one."""
    path = tmp_path / "out.csv"
    batch = pa.RecordBatch.from_pydict({"x": [1.0]})
    writer = open_writer(str(path), batch.schema, overwrite=False)
    with pytest.raises(ConfigError, match="appeared meanwhile"), writer as out:  # noqa: PT012
        out.write(batch)
        path.write_text("theirs")
    assert path.read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [path]


def test_columns_that_a_matrix_does_not_hold_are_named(tmp_path):
    batch = pa.RecordBatch.from_pydict({"x": [1.0], "reason": ["new"], "y": [True]})
    with pytest.warns(AnomalyVaeWarning, match="its columns are x, y; left out: reason"):
        write(tmp_path / "out.npy", batch)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), [[1.0, 1.0]])


def test_an_output_that_cannot_be_written_is_refused_before_it_is_opened(tmp_path, monkeypatch):
    path = tmp_path / "out.csv"
    refuse_output(str(path), overwrite=False)
    assert not path.exists()
    path.touch()
    refuse_output(str(path), overwrite=True)
    with pytest.raises(ConfigError, match="exists already"):
        refuse_output(str(path), overwrite=False)
    with pytest.raises(ConfigError, match="expected a file ending in"):
        refuse_output(str(tmp_path / "out.txt"), overwrite=False)
    refuse_output("-", overwrite=False)
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(ConfigError, match="standard output is closed"):
        refuse_output("-", overwrite=False)
