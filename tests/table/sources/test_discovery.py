"""The files of a data set are found, and what is beside them is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from anomaly_vae.errors import InvalidInput
from anomaly_vae.table.sources.discovery import find_in_folder, find_matches, is_pattern, partition_keys


def touched(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def names_of(found):
    return [path.relative_to(found.root).as_posix() for path in found.files]


@pytest.mark.parametrize(
    ("names", "files", "ignored"),
    [
        (["b.csv", "a.csv.gz", "c/a.tsv"], ["a.csv.gz", "b.csv", "c/a.tsv"], []),
        (["a.parquet", "README.md", "x.json", "n.txt"], ["a.parquet"], ["README.md", "n.txt", "x.json"]),
        (["_SUCCESS", ".part-0.parquet.crc", "part-0.parquet", "_tmp/a.parquet", ".x/a.csv"], ["part-0.parquet"], []),
        (["a.parquet.crc", "b.pq"], ["b.pq"], []),
        (["a.txt", "b.txt"], ["a.txt", "b.txt"], []),
        (["part-0", "part-1", "README.md"], ["part-0", "part-1"], ["README.md"]),
        (["y=1/a.npy", "y=2/a.npy"], ["y=1/a.npy", "y=2/a.npy"], []),
    ],
)
def test_the_files_of_a_folder(tmp_path, names, files, ignored):
    found = find_in_folder(touched(tmp_path, *names), "here/")
    assert names_of(found) == files
    assert found.ignored == ignored


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "here/: holds no files; expected tables such as .csv"),
        (["a.md", "b.md", "c.md", "d.md"], "here/: holds only a.md, b.md, c.md and 1 more; expected tables"),
        (["a.csv", "b.csv", "c.parquet"], r"several formats: 2 like a\.csv, 1 like c\.parquet; choose by a pattern"),
        (["a.txt", "b.json"], "several formats"),
        (["manifest.json", "a.npy"], "here/: is a model, not a table"),
        (["_delta_log/0.json", "a.parquet"], "here/: is a Delta table"),
    ],
)
def test_folders_that_are_no_tables_are_explained(tmp_path, names, message):
    with pytest.raises(InvalidInput, match=message):
        find_in_folder(touched(tmp_path, *names), "here/")


@pytest.mark.parametrize(
    ("pattern", "files", "root"),
    [
        ("d/*.csv", ["a.csv", "b.csv"], "d"),
        ("d/[b-z]*.csv", ["b.csv"], "d"),
        ("d/**/*.csv", ["a.csv", "b.csv", "y=1/c.csv"], "d"),
        ("d/y=*", ["y=1/c.csv"], "d"),
        ("d/y=1/?.csv", ["c.csv"], "d/y=1"),
        ("d/*.log", ["x.log"], "d"),
        ("*/a.csv", ["d/a.csv"], ""),
    ],
)
def test_the_files_of_a_pattern(tmp_path, monkeypatch, pattern, files, root):
    touched(tmp_path, "d/a.csv", "d/b.csv", "d/_c.csv", "d/y=1/c.csv", "d/y=1/_x/d.csv", "d/x.log", "d/.h.csv")
    monkeypatch.chdir(tmp_path)
    for given in (pattern, str(tmp_path / pattern)):
        found = find_matches(given, "here")
        assert names_of(found) == files
    found = find_matches(pattern, "here")
    assert found.root == Path(root)


def test_a_pattern_without_matches_is_explained(tmp_path):
    with pytest.raises(InvalidInput, match="here: no file matches"):
        find_matches(str(tmp_path / "*.csv"), "here")


def test_a_file_with_the_name_of_a_pattern_is_a_file(tmp_path):
    path = tmp_path / "a[1].csv"
    assert is_pattern(str(path))
    path.touch()
    assert not is_pattern(str(path))
    assert not is_pattern("a.csv")


def test_links_in_a_circle_end(tmp_path):
    touched(tmp_path, "a.csv")
    os.symlink(tmp_path, tmp_path / "again")  # noqa: PTH211
    assert names_of(find_in_folder(tmp_path, "here/")) == ["a.csv"]


def test_partition_keys():
    assert partition_keys(Path("year=2024/city=S%C3%A3o%20Paulo%2F1/x/k=__HIVE_DEFAULT_PARTITION__/n=/a=b.csv")) == {
        "year": "2024",
        "city": "São Paulo/1",
        "k": None,
        "n": None,
    }
    assert partition_keys(Path("a/=x/b.csv")) == {}
