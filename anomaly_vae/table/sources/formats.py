"""Which format a file has: by its first bytes, whatever its name says; the name decides only between texts."""

from __future__ import annotations

from typing import Literal

from anomaly_vae.errors import InvalidInput

__all__ = ["Format", "ending_of", "expected_format", "find_format", "refuse_ending"]

Format = Literal["text", "json lines", "parquet", "ipc file", "ipc stream", "npy"]

_ENDINGS: dict[str, Format] = {
    ".csv": "text",
    ".tsv": "text",
    ".tab": "text",
    ".txt": "text",
    ".jsonl": "json lines",
    ".ndjson": "json lines",
    ".json": "json lines",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "ipc file",
    ".feather": "ipc file",
    ".ipc": "ipc file",
    ".arrows": "ipc stream",
    ".npy": "npy",
}

_MAGIC: dict[bytes, Format] = {
    b"PAR1": "parquet",
    b"ARROW1\0\0": "ipc file",
    b"\xff\xff\xff\xff": "ipc stream",
    b"\x93NUMPY": "npy",
}

_PANDAS = 'convert it first: python -c "import pandas; pandas.{}"'
_TO_CSV = _PANDAS.format("read_{}('{}').to_csv('in.csv', index=False)")
_EXCEL = "is a spreadsheet; " + _TO_CSV.format("excel", "in.xlsx")
_PICKLE = "is a pickle, and reading one can run code; save the table as Parquet or CSV where it was made"
_ZIP = "is a zip archive; unzip it first"
_SQL = "is a database; export the table as CSV first: sqlite3 -csv -header in.db 'SELECT * FROM t' > in.csv"
_XML = "is XML or HTML; " + _TO_CSV.format("xml", "in.xml")
_ORC = "is an ORC file; " + _PANDAS.format("read_orc('in.orc').to_parquet('in.parquet')")
_AVRO = "is an Avro file, which cannot be read; convert it to Parquet or CSV first"
_HDF = "is an HDF5 file; " + _TO_CSV.format("hdf", "in.h5")
_ARCHIVE = "is compressed in a way that cannot be read; decompress it first, or use gzip or zstd"
_FEATHER1 = "is Feather of version 1; write it again: " + _PANDAS.format("read_feather('in').to_feather('out')")
_NPZ = "holds several arrays; save one matrix with numpy.save"
JSON_ARRAY = "is one JSON array; " + _PANDAS.format(
    "read_json('in.json').to_json('in.jsonl', orient='records', lines=True)"
)
JSON_OBJECT = (
    "is one JSON value over several lines, expected one object per line; write it again as JSON lines, such as by "
    "jq -c '.[]' in.json > in.jsonl"
)

_REFUSED_ENDINGS = {
    **dict.fromkeys([".xlsx", ".xls", ".xlsm", ".xlsb", ".ods"], _EXCEL),
    **dict.fromkeys([".pkl", ".pickle", ".joblib", ".pt", ".pth"], _PICKLE),
    **dict.fromkeys([".sqlite", ".sqlite3", ".db", ".duckdb"], _SQL),
    **dict.fromkeys([".xml", ".html", ".htm"], _XML),
    **dict.fromkeys([".bz2", ".xz", ".lz4", ".7z", ".rar", ".tar", ".tgz"], _ARCHIVE),
    **dict.fromkeys([".h5", ".hdf5", ".hdf"], _HDF),
    ".zip": _ZIP,
    ".npz": _NPZ,
    ".orc": _ORC,
    ".avro": _AVRO,
}

_REFUSED_MAGIC = {
    b"\xd0\xcf\x11\xe0": _EXCEL.replace("xlsx", "xls"),
    b"SQLite format 3\0": _SQL,
    b"\x89HDF": _HDF,
    b"ORC": _ORC,
    b"Obj\x01": _AVRO,
    b"FEA1": _FEATHER1,
    b"BZh": _ARCHIVE,
    b"\xfd7zXZ\0": _ARCHIVE,
    b"\x04\x22\x4d\x18": _ARCHIVE,
    b"7z\xbc\xaf": _ARCHIVE,
    b"<?xml": _XML,
    b"<!DOCTYPE": _XML,
    b"<!doctype": _XML,
    b"<html": _XML,
    **{b"\x80" + bytes([protocol]): _PICKLE for protocol in range(2, 6)},
}

_COMPRESSED = (".gz", ".zst", ".zstd", ".gzip")


def ending_of(path: str) -> str:
    """Return the ending of a name in small letters, before that of a compression; "" if it has none."""
    name = path.lower().replace("\\", "/").rsplit("/", 1)[-1]
    for ending in _COMPRESSED:
        name = name.removesuffix(ending)
    stem, dot, ending = name.rpartition(".")
    return dot + ending if stem else ""


def expected_format(ending: str) -> Format | None:
    """Return the format that an ending stands for; None if it is unknown."""
    return _ENDINGS.get(ending)


def refuse_ending(where: str, ending: str) -> None:
    """Raise InvalidInput for the ending of a format that cannot be read."""
    if ending in _REFUSED_ENDINGS:
        raise InvalidInput(f"{where}: {_REFUSED_ENDINGS[ending].replace('in.xlsx', f'in{ending}')}")


def find_format(where: str, head: bytes, ending: str) -> Format:
    """Return the format of a file by its first bytes, "text" if none is known.

    Raises:
        InvalidInput: The format cannot be read.
    """
    for magic, found in _MAGIC.items():
        if head.startswith(magic):
            return found
    for magic, reason in _REFUSED_MAGIC.items():
        if head.startswith(magic) and not (magic == b"ORC" and head[:4].isalpha()):
            raise InvalidInput(f"{where}: {reason}")
    if head.startswith(b"PK\x03\x04"):
        is_sheet = any(part in head for part in (b"[Content_Types].xml", b"xl/", b"opendocument.spreadsheet"))
        raise InvalidInput(f"{where}: {_EXCEL if is_sheet else _NPZ if b'.npy' in head else _ZIP}")
    refuse_ending(where, ending)
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"[") and (ending in (".json", ".jsonl", ".ndjson") or start[1:].lstrip()[:1] in (b"{", b"[")):
        raise InvalidInput(f"{where}: {JSON_ARRAY}")
    return "text"
