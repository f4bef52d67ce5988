"""Outputs in an object store: complete or not there, and the same bytes as on this computer."""

from __future__ import annotations

import json

import pytest

from anomaly_vae.batch import score_table, stored_targets
from anomaly_vae.batch.targets import MARKER
from anomaly_vae.errors import ConfigError, RemoteError
from anomaly_vae.table import open_table
from anomaly_vae.table.stores.places import place_of
from tests.batch.test_journaled import Stopped, contents, score, write_input
from tests.batch.test_journaled import _small_steps as _small_steps
from tests.support.batches import FakeScorer
from tests.support.tables import csv_table


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def stored(bucket):
    """The objects of a bucket by name."""
    from pyarrow.fs import FileSelector

    system = place_of(f"s3://{bucket}/x").path.system
    infos = system.get_file_info(FileSelector(bucket, recursive=True))
    files = [info.path for info in infos if info.is_file]
    return {path.partition("/")[2]: system.open_input_stream(path, compression=None).readall() for path in files}


def jobs(tmp_path):
    return [path.name for path in (tmp_path / "cache" / "anomaly-vae" / "jobs").glob("*/.*")]


def test_files_and_folders_are_those_of_this_computer(tmp_path, bucket):
    folder, url = write_input(tmp_path / "in"), f"s3://{bucket}"
    for name in ("a.parquet", "b.jsonl.gz", "c/"):
        score(folder, f"{tmp_path}/{name}", keep=["id"])
        score(folder, f"{url}/{name}", keep=["id"])
    found, local = stored(bucket), contents(tmp_path / "c")
    assert json.loads(found.pop(f"c/{MARKER}")) == json.loads(local.pop(MARKER))
    assert found == {
        "a.parquet": contents(tmp_path / "a.parquet"),
        "b.jsonl.gz": contents(tmp_path / "b.jsonl.gz"),
        **{f"c/{name}": data for name, data in local.items()},
    }
    assert jobs(tmp_path) == []
    with pytest.raises(ConfigError, match=rf"s3://{bucket}/a\.parquet exists already"):
        score(folder, f"{url}/a.parquet")
    assert score(folder, f"{url}/c/", keep=["id"], resume=True).was_complete
    (folder / "day=0" / "rows.csv").rename(folder / "day=0" / "other.csv")
    score(folder, f"{url}/c/", overwrite=True)
    assert "c/day=0/other.parquet" in stored(bucket)
    assert "c/day=0/rows.parquet" not in stored(bucket)


def test_a_job_that_is_stopped_goes_on_and_has_uploaded_nothing(tmp_path, bucket):
    folder, url = write_input(tmp_path / "in"), f"s3://{bucket}/out.csv"
    with pytest.raises(Stopped) as stopped:
        score(folder, url, stop=9)
    assert stopped.value.__notes__[0].startswith(f"{url}: the rows that are done are kept")
    assert stored(bucket) == {}
    assert jobs(tmp_path) == [".out.csv.job"]
    score(folder, url, resume=True)
    score(folder, f"{tmp_path}/out.csv")
    assert stored(bucket) == {"out.csv": contents(tmp_path / "out.csv")}
    assert jobs(tmp_path) == []


def test_an_upload_that_fails_leaves_no_object_of_that_name(tmp_path, bucket, monkeypatch):
    folder, url = write_input(tmp_path / "in"), f"s3://{bucket}/out.csv"

    def cut(source, sink, _size):
        sink.write(source.read(10))

    with monkeypatch.context() as patch:
        patch.setattr(stored_targets.shutil, "copyfileobj", cut)
        with pytest.raises(RemoteError, match="10 bytes arrived, expected"):
            score(folder, url)
    assert "out.csv" not in stored(bucket)
    score(folder, url, resume=True)
    assert list(stored(bucket)) == ["out.csv"]


def test_what_cannot_be_uploaded_is_refused(tmp_path, bucket):
    with pytest.raises(ConfigError, match="the input is a pipe"):
        score_table(FakeScorer(), csv_table("a,city\n1,Oslo\n"), f"s3://{bucket}/out.csv")
    with pytest.raises(ConfigError, match="expected a file ending in"):
        score(write_input(tmp_path / "in") / "day=0", f"s3://{bucket}/out.xlsx")
    system = place_of(f"s3://{bucket}/x").path.system
    with system.open_output_stream(f"{bucket}/mine/photo.png") as stream:
        stream.write(b"x")
    with pytest.raises(ConfigError, match="replaces a folder only if it is an earlier output"):
        score(tmp_path / "in", f"s3://{bucket}/mine/", overwrite=True)
    table = open_table(str(tmp_path / "in" / "day=0"))
    with pytest.raises(ConfigError, match="exists already"):
        score_table(FakeScorer(), table, f"s3://{bucket}/mine/")
