"""open_source: standard input, files and what is refused."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest

from anomaly_vae.errors import ConfigError, InvalidInput
from anomaly_vae.table.sources import open_source
from tests.support.sources import cells


def test_standard_input_is_csv(monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"a,b\n1,2\n")))
    source = open_source("-")
    assert source.where == "standard input"
    assert cells(source)[0] == {"a": ["1"], "b": ["2"]}
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InvalidInput, match="standard input is closed"):
        open_source("-")


def test_the_home_folder_is_known(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "t.csv").write_text("a\n1\n")
    source = open_source("~/t.csv")
    assert source.where == "~/t.csv"
    assert cells(source)[0] == {"a": ["1"]}


@pytest.mark.parametrize("path", ["http://example.org/t.csv", "https://example.org/t.parquet", "ftp://a/t.csv"])
def test_tables_are_not_on_web_servers(path):
    with pytest.raises(ConfigError, match=r"tables are not read from .*expected s3://BUCKET/PATH"):
        open_source(path)


def test_a_url_of_a_file_is_a_path(tmp_path):
    (tmp_path / "a b.csv").write_text("a\n1\n")
    assert cells(open_source(f"file://{tmp_path}/a%20b.csv"))[0] == {"a": ["1"]}


def test_a_missing_file_is_explained(tmp_path):
    with pytest.raises(InvalidInput, match="no such file"):
        open_source(str(tmp_path / "none.csv"))


@pytest.mark.parametrize("path", ["~nobody-of-this-name/t.csv", "a\0b.csv"])
def test_names_that_cannot_be_files_are_explained(path):
    with pytest.raises(InvalidInput):
        open_source(path)


def test_folders_and_patterns_are_opened(tmp_path):
    (tmp_path / "t.csv").write_text("a\n1\n")
    for path in (str(tmp_path), f"{tmp_path}/", f"{tmp_path}/*.csv"):
        assert cells(open_source(path))[0] == {"a": ["1"]}
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(InvalidInput, match="is a model, not a table"):
        open_source(str(tmp_path))
