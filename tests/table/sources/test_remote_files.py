"""Tables in object stores, by a server that behaves like Amazon S3's."""

from __future__ import annotations

import gzip
import io

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly_vae.errors import InvalidInput, RemoteError
from anomaly_vae.table.sources import open_source
from anomaly_vae.table.sources.remote_files import _fits, find_objects
from anomaly_vae.table.stores import reading
from anomaly_vae.table.stores.places import place_of
from tests.support.remote_stores import put_objects
from tests.support.sources import cells


@pytest.fixture
def put(bucket):
    """Write objects to an empty bucket, and return its URL."""

    def put(**objects):
        put_objects(bucket, **objects)
        return f"s3://{bucket}"

    return put


def written(table, write):
    sink = io.BytesIO()
    write(table, sink)
    return sink.getvalue()


TABLE = pa.table({"x": np.arange(5000.0), "name": [f"n{i}" for i in range(5000)]})
NPY = io.BytesIO()
np.save(NPY, np.arange(6.0).reshape(3, 2))

FORMATS = {
    "t.csv": "x,name\n1,a\n2,b\n",
    "t.csv.gz": gzip.compress(b"x,name\n1,a\n2,b\n"),
    "t.tsv.zst": pa.Codec("zstd").compress(b"x\tname\n1\ta\n2\tb\n", asbytes=True),
    "t.jsonl": '{"x": 1, "name": "a"}\n{"x": 2, "name": "b"}\n',
    "t.parquet": written(TABLE, pyarrow.parquet.write_table),
    "t.feather": written(TABLE, pyarrow.feather.write_feather),
    "t.npy": NPY.getvalue(),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_reads_as_from_a_file(put, tmp_path, name):
    (tmp_path / name).write_bytes(FORMATS[name].encode() if isinstance(FORMATS[name], str) else FORMATS[name])
    local, remote = open_source(str(tmp_path / name)), open_source(f"{put(**{name: FORMATS[name]})}/{name}")
    assert remote.where.startswith("s3://bucket-")
    assert remote.names == local.names
    assert remote.notes == local.notes == ()
    assert cells(remote) == cells(local)


def test_folders_patterns_and_partitions(put):
    csv = "x\n{}\n".format
    url = put(
        **{
            "d/k=1/a.csv": csv(1),
            "d/k=2/b.csv": csv(2),
            "d/k=2/_tmp/c.csv": csv(9),
            "d/k=3/x/c.csv": csv(3),
            "d/README.md": "text",
            "e/a.csv": csv(5),
        }
    )
    expected = {
        f"{url}/d": ["1", "2", "3"],
        f"{url}/d/": ["1", "2", "3"],
        f"{url}/d/*": ["1", "2", "3"],
        f"{url}/d/*/*.csv": ["1", "2"],
        f"{url}/d/**/*.csv": ["1", "2", "3"],
        f"{url}/d/k=[12]/": ["1", "2"],
        f"{url}/d/k=[!1]/**": ["2", "3"],
        f"{url}/*/a.csv": ["5"],
        f"{url}/**/a.csv": ["1", "5"],
    }
    for path, x in expected.items():
        if path.endswith("/**/a.csv"):
            with pytest.raises(InvalidInput, match="expected the same keys"):
                open_source(path)
            continue
        assert cells(open_source(path), ["x"])[0] == {"x": x}, path
    source = open_source(f"{url}/d")
    assert source.names == ("x", "k")
    assert source.notes == (f"{url}/d/: 3 files; ignored: README.md",)
    assert cells(source)[0]["k"] == ["1", "2", "3"]


def test_the_name_of_a_file_wins_over_the_pattern(put):
    url = put(**{"a[1].csv": "x\n1\n", "a1.csv": "x\n2\n"})
    assert cells(open_source(f"{url}/a[1].csv"))[0] == {"x": ["1"]}
    assert cells(open_source(f"{url}/a[12].csv"))[0] == {"x": ["2"]}


def test_the_endpoint_may_stand_in_the_url(put, s3_server, monkeypatch):
    url = put(**{"d/a.csv": "x\n1\n", "d/b.csv": "x\n2\n"})
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    source = open_source(f"{url}/d/*.csv?endpoint_override={s3_server}&scheme=http")
    assert source.where == f"{url}/d/*.csv"
    assert cells(source)[0] == {"x": ["1", "2"]}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("none.csv", r"s3://bucket-\d+/none.csv: no such file or folder"),
        ("none/", r"s3://bucket-\d+/none/: no such folder"),
        ("none/*.csv", r"s3://bucket-\d+/none/\*.csv: no file matches"),
        ("**/*.npy", r"\*\*/\*.npy: no file matches"),
        ("model", "is a model, not a table"),
        ("delta", "is a Delta table"),
        ("bad.parquet", r"bad.parquet: damaged, or not a Parquet file"),
        ("bad.gz", "the gzip data are cut off or damaged"),
    ],
)
def test_what_cannot_be_read_is_explained(put, path, message):
    url = put(
        **{
            "model/manifest.json": "{}",
            "delta/_delta_log/0.json": "{}",
            "delta/a.parquet": b"PAR1",
            "bad.parquet": b"PAR1" + bytes(100),
            "bad.gz": gzip.compress(b"x\n1\n")[:-9],
        }
    )
    with pytest.raises(InvalidInput, match=message):
        cells(open_source(f"{url}/{path}"))


def test_a_bucket_that_does_not_exist(bucket):
    with pytest.raises((InvalidInput, RemoteError), match="s3://no-such-bucket/a"):
        open_source("s3://no-such-bucket/a/")


def test_parquet_reads_only_the_needed_columns(put, monkeypatch):
    rng = np.random.default_rng(0)
    table = pa.table({"x": rng.normal(size=20_000), **{f"w{i}": rng.normal(size=20_000) for i in range(20)}})
    data = written(table, lambda table, sink: pyarrow.parquet.write_table(table, sink, row_group_size=5000))
    url = put(**{"t.parquet": data})
    sizes, read = [], reading.ObjectFile.read

    def counted(self, size=-1, /):
        part = read(self, size)
        sizes.append(len(part))
        return part

    monkeypatch.setattr(reading.ObjectFile, "read", counted)
    columns, _ = cells(open_source(f"{url}/t.parquet"), ["x"])
    assert columns["x"] == table["x"].to_pylist()
    assert sum(sizes) < len(data) / 5  # a look at the start, the footer, and one column of 21


@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
def test_a_store_that_fails_in_the_middle_is_no_damaged_file(put, monkeypatch, name):
    data = FORMATS["t.parquet"] if name == "t.parquet" else "x,name\n" + "1,a\n" * 600_000
    source = open_source(f"{put(**{name: data})}/{name}")

    def fails(self, size=-1, /):
        raise RemoteError("the store is down")

    monkeypatch.setattr(reading.ObjectFile, "read", fails)
    with pytest.raises(RemoteError, match="the store is down"):
        cells(source)


NAMES = st.lists(st.text("ab", min_size=1, max_size=2), max_size=4)


@given(NAMES, st.lists(st.sampled_from(["a", "*", "**", "[ab]", "b*"]), max_size=4))
def test_a_pattern_fits_as_its_regular_expression_does(names, parts):
    """``**`` stands for any number of folders, and ``*`` for a part of one."""
    import re

    translated = {"*": "[^/]+/", "**": "(?:[^/]+/)*", "[ab]": "[ab]/", "a": "a/", "b*": "b[^/]*/"}
    pattern = re.compile("".join(translated[part] for part in parts))
    assert _fits(names, parts) == (pattern.fullmatch("".join(f"{name}/" for name in names)) is not None)


def test_only_the_folders_of_a_pattern_are_listed(put, monkeypatch):
    url = put(**{"a/1/x.csv": "x\n1\n", "a/2/x.csv": "x\n1\n", "b/1/x.csv": "x\n1\n"})
    place = place_of(f"{url}/a/*/x.csv")
    assert [path.key.partition("/")[2] for path in find_objects(place).files] == ["a/1/x.csv", "a/2/x.csv"]
