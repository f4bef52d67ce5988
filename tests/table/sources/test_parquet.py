"""Parquet: types and values as they are."""

from __future__ import annotations

import datetime

import pandas
import polars
import pyarrow as pa
import pyarrow.parquet
import pytest

from anomaly_vae.errors import InvalidInput
from anomaly_vae.table.sources import open_source
from anomaly_vae.table.sources.parquet import ParquetSource
from tests.support.sources import cells

TABLE = pa.table(
    {
        "x": [1.5, None, 3.0],
        "n": pa.array([1, 2, 3], pa.int8()),
        "t": [datetime.datetime(2024, 1, 1), None, datetime.datetime(2025, 1, 1)],
        "d": pa.array(["a", "b", "a"]).dictionary_encode(),
        "l": [[1], [], None],
    }
)


def written(folder, table=TABLE, **options):
    pyarrow.parquet.write_table(table, folder / "t.parquet", **options)
    return str(folder / "t.parquet")


def test_types_and_values_are_those_of_the_file(tmp_path):
    source = open_source(written(tmp_path))
    assert (source.is_text, source.decimal, source.encoding, source.notes) == (False, None, None, ())
    assert source.names == tuple(TABLE.column_names)
    assert [source.type_of(name) for name in source.names] == TABLE.schema.types
    assert cells(source, ["d", "x", "l", "t"]) == (TABLE.select(["d", "x", "l", "t"]).to_pydict(), [None] * 3)


def test_extension_types_are_unwrapped(tmp_path):
    column = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0123456789abcdef"], pa.binary(16)))
    source = open_source(written(tmp_path, pa.table({"u": column})))
    assert source.type_of("u") == pa.binary(16)
    assert cells(source)[0] == {"u": [b"0123456789abcdef"]}


def test_a_large_row_group_is_read_in_batches_with_progress(tmp_path):
    source = open_source(written(tmp_path, pa.table({"x": range(5000)}), row_group_size=5000))
    assert source.progress() == (0, 5000)
    next(batches := source.batches(["x"]))
    assert source.progress() == (1024, 5000)
    assert sum(len(batch.faults) for batch in batches) == 5000 - 1024


def test_names_with_dots_and_no_names(tmp_path):
    path = written(tmp_path, pa.table({"a.b": [1], "a": [2]}))
    assert cells(open_source(path), ["a"])[0] == {"a": [2]}
    assert cells(open_source(path), ["a.b"])[0] == {"a.b": [1]}
    assert [len(batch.faults) for batch in open_source(path).batches([])] == [1]


def test_files_of_pandas_and_polars(tmp_path):
    frame = pandas.DataFrame({"x": [0.1, 0.2], "s": pandas.Categorical(["a", "b"])})
    frame.to_parquet(tmp_path / "p.parquet")
    assert cells(open_source(str(tmp_path / "p.parquet")))[0] == {"x": [0.1, 0.2], "s": ["a", "b"]}
    polars.DataFrame({"x": [0.1, 0.2], "s": ["a", None]}).write_parquet(tmp_path / "q.pq")
    assert cells(open_source(str(tmp_path / "q.pq")))[0] == {"x": [0.1, 0.2], "s": ["a", None]}


def test_a_damaged_file_is_explained(tmp_path):
    path = tmp_path / "t.parquet"
    written(tmp_path, pa.table({"x": range(100_000)}))
    data = path.read_bytes()
    for damaged in (b"PAR1 not really", data[:-100], data[:100] + bytes(5000) + data[5100:]):
        path.write_bytes(damaged)
        with pytest.raises(InvalidInput, match=r"t\.parquet: damaged"):
            cells(open_source(str(path)))


def test_a_file_without_columns_is_refused(tmp_path):
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(pa.table({}), path)
    with pytest.raises(InvalidInput, match="has no columns"):
        ParquetSource(path, str(path))


def test_texts_that_are_not_utf_8_are_damage(tmp_path):
    path = tmp_path / "t.parquet"
    written(tmp_path, pa.table({"s": ["abcdef", "abcdefg"]}), compression="none", use_dictionary=False)
    path.write_bytes(path.read_bytes().replace(b"abcdef", b"abc\xffef"))
    with pytest.raises(InvalidInput, match=r"t\.parquet: damaged after 0 rows"):
        cells(open_source(str(path)))
