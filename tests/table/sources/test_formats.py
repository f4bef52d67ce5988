"""Formats are found by content, and those that cannot be read are refused with a way out."""

from __future__ import annotations

import pytest

from anomaly_vae.errors import InvalidInput
from anomaly_vae.table.sources.formats import ending_of, expected_format, find_format, refuse_ending


@pytest.mark.parametrize(
    ("path", "ending"),
    [
        ("a/b.csv", ".csv"),
        ("a.CSV.GZ", ".csv"),
        ("a.tsv.zst", ".tsv"),
        ("a.b/c", ""),
        (".csv", ""),
        ("a.gz", ""),
        ("C:\\x\\a.Parquet", ".parquet"),
        ("part-0.c000.parquet", ".parquet"),
    ],
)
def test_the_ending(path, ending):
    assert ending_of(path) == ending


def test_expected_formats():
    assert expected_format(".csv") == "text"
    assert expected_format(".ndjson") == "json lines"
    assert expected_format(".xyz") is None


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b"PAR1\x15\x04", "parquet"),
        (b"ARROW1\0\0\xff", "ipc file"),
        (b"\xff\xff\xff\xff\x10\0", "ipc stream"),
        (b"\x93NUMPY\x01\0", "npy"),
        (b"a,b\n1,2\n", "text"),
        (b'{"a": 1}\n', "text"),
        (b"", "text"),
        (b"ORCA,b\n", "text"),
        (b"[a],b\n", "text"),
    ],
)
def test_formats_are_found_by_content(head, found):
    assert find_format("t", head, ".csv") == found
    assert find_format("t", head, "") == found


@pytest.mark.parametrize(
    ("head", "ending", "message"),
    [
        (b"PK\x03\x04....[Content_Types].xml", ".csv", "is a spreadsheet; convert it first: python -c"),
        (b"PK\x03\x04mimetypeapplication/vnd.oasis.opendocument.spreadsheet", "", "is a spreadsheet"),
        (b"\xd0\xcf\x11\xe0", ".xls", r"is a spreadsheet; .*read_excel\('in.xls'\).to_csv\('in.csv', index=False\)"),
        (b"PK\x03\x04....a.npy", ".npz", "holds several arrays; save one matrix with numpy.save"),
        (b"PK\x03\x04....data.csv", ".zip", "is a zip archive; unzip it first"),
        (b"\x80\x04\x95", ".csv", "is a pickle, and reading one can run code"),
        (b"SQLite format 3\0", "", "is a database"),
        (b"<?xml version", ".txt", "is XML or HTML"),
        (b"ORC\x01", "", "is an ORC file"),
        (b"Obj\x01", "", "is an Avro file"),
        (b"\x89HDF\r\n", "", "is an HDF5 file"),
        (b"FEA1", ".feather", "is Feather of version 1"),
        (b"BZh9", ".csv", "is compressed in a way that cannot be read"),
        (b' [{"a": 1}]', ".json", "is one JSON array; convert it first"),
        (b"[\n  {", "", "is one JSON array"),
        (b"[1]", ".jsonl", "is one JSON array"),
        (b"anything", ".pkl", "is a pickle"),
    ],
)
def test_formats_that_cannot_be_read_are_refused(head, ending, message):
    with pytest.raises(InvalidInput, match="t: " + message):
        find_format("t", head, ending)


@pytest.mark.parametrize(
    "ending", [".xlsx", ".ods", ".pickle", ".joblib", ".db", ".orc", ".avro", ".xml", ".zip", ".xz"]
)
def test_endings_are_refused(ending):
    with pytest.raises(InvalidInput, match="t: is "):
        refuse_ending("t", ending)
    refuse_ending("t", ".csv")


def test_the_remedy_names_the_ending():
    with pytest.raises(InvalidInput, match=r"read_excel\('in\.ods'\)"):
        refuse_ending("t", ".ods")
