"""Files of all formats are opened by their content, and those that cannot be read are explained."""

from __future__ import annotations

import gzip
import io
import os
import threading

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest

from anomaly_vae.columns.reading.options import ReadOptions
from anomaly_vae.errors import InvalidInput
from anomaly_vae.table.sources.files import missing, open_file, open_pipe
from tests.support.sources import cells, open_bytes, read_bytes

TABLE = pa.table({"a": [1.5, 2.5]})


def parquet():
    sink = io.BytesIO()
    pyarrow.parquet.write_table(TABLE, sink)
    return sink.getvalue()


def arrow(new=pa.ipc.new_file):
    sink = io.BytesIO()
    with new(sink, TABLE.schema) as writer:
        writer.write_table(TABLE)
    return sink.getvalue()


def npy():
    sink = io.BytesIO()
    np.save(sink, np.array([1.5, 2.5]))
    return sink.getvalue()


CSV = b"a\n1.5\n2.5\n"
JSON = b'{"a": 1.5}\n{"a": 2.5}\n'
CONTENTS = {
    ".csv": CSV,
    ".parquet": parquet(),
    ".arrow": arrow(),
    ".arrows": arrow(pa.ipc.new_stream),
    ".jsonl": JSON,
    ".npy": npy(),
}


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("ending", [*CONTENTS, ".txt", ".pq", ".feather", ".tsv", "", ".xyz", ".2024"])
def test_the_content_decides_whatever_the_name_says(tmp_path, content, ending):
    name = f"data{ending}"
    data = CONTENTS[content]
    if ending == ".jsonl" and content == ".csv":
        with pytest.raises(InvalidInput, match="holds no JSON objects, but 'a'; expected one JSON object per line"):
            open_bytes(tmp_path, name, data)
        return
    source = open_bytes(tmp_path, name, data)
    columns, faults = cells(source)
    assert [[float(cell) for cell in column] for column in columns.values()] == [[1.5, 2.5]]
    assert faults == [None, None]
    same = {".pq": ".parquet", ".feather": ".arrow", ".tsv": ".csv", ".txt": ".csv"}
    expected = same.get(ending, ending)
    fits = expected in ("", ".xyz", ".2024", content) or {expected, content} == {".arrow", ".arrows"}
    fits |= ending == ".txt" and content == ".jsonl"
    assert [("and is read as such; rename it" in note) for note in source.notes] == ([] if fits else [True])


@pytest.mark.parametrize("content", [".csv", ".jsonl"])
@pytest.mark.parametrize("codec", ["gzip", "zstd"])
@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.tsv.zst", "t.gz", "t.zst", "t"])
def test_texts_may_be_compressed_whatever_the_name_says(tmp_path, content, codec, name):
    data = CONTENTS[content]
    written = gzip.compress(data) if codec == "gzip" else pa.compress(data, codec=codec, asbytes=True)
    columns, _ = read_bytes(tmp_path, name, written)
    assert columns == {"a": ["1.5", "2.5"]}


def test_other_formats_may_not_be_compressed(tmp_path):
    with pytest.raises(InvalidInput, match="is a Parquet file compressed by gzip; decompress it first"):
        open_bytes(tmp_path, "t.parquet.gz", gzip.compress(parquet()))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("t.json", '{\n "a": 1\n}', "is one JSON value over several lines, expected one object per line"),
        ("t.json", '[{"a": 1}]', "is one JSON array"),
        ("t.json", "a,b\n1,2\n", "holds no JSON objects, but 'a,b'"),
        ("t.jsonl", "", "is empty"),
        ("t.parquet", b"\0\1\2\3" * 100, "holds binary data, not text"),
        ("t.sqlite", "a,b\n1,2\n", "is a database"),
    ],
)
def test_contents_that_are_no_tables_are_refused(tmp_path, name, data, message):
    with pytest.raises(InvalidInput, match=message):
        open_bytes(tmp_path, name, data)


def test_json_lines_may_start_with_a_broken_line(tmp_path):
    columns, faults = read_bytes(tmp_path, "t.jsonl", '{"a": \n{"a": 1}\n')
    assert columns == {"a": [None, "1"]}
    assert faults[0][1].startswith("line 1: is not a JSON object")


def test_a_missing_file_suggests_one_of_a_similar_name(tmp_path):
    (tmp_path / "table.csv").write_bytes(CSV)
    path = tmp_path / "tabel.csv"
    with pytest.raises(InvalidInput) as caught:
        open_file(path, "here/tabel.csv", ReadOptions())
    assert str(caught.value) == f"here/tabel.csv: no such file; did you mean {tmp_path / 'table.csv'}?"
    assert str(missing(tmp_path / "xyz.parquet", "w")) == "w: no such file"
    assert "does not exist" in str(missing(tmp_path / "none" / "x.csv", "w"))


def test_a_file_without_permission_is_explained(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(tmp_path), "open", refuse)
    with pytest.raises(InvalidInput, match="w: cannot be read: Permission denied"):
        open_file(tmp_path / "t.csv", "w", ReadOptions())


def test_a_pipe_is_read_once(tmp_path):
    for data in (CSV, JSON, gzip.compress(CSV)):
        source = open_pipe(io.BytesIO(data), "standard input", ReadOptions())
        assert source.where == "standard input"
        assert source.progress() == (0, None)
        assert cells(source)[0] == {"a": ["1.5", "2.5"]}
    with pytest.raises(InvalidInput, match="is a Parquet file, which cannot be read from a pipe"):
        open_pipe(io.BytesIO(parquet()), "standard input", ReadOptions())


def test_a_named_pipe_is_read(tmp_path):
    path = tmp_path / "pipe.csv"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(CSV,))
    writer.start()
    assert cells(open_file(path, "w", ReadOptions()))[0] == {"a": ["1.5", "2.5"]}
    writer.join()
