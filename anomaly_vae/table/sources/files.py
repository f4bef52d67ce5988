"""Open one file: find its format, and explain a file that cannot be read."""

from __future__ import annotations

import difflib
import stat
from pathlib import Path
from typing import Any, BinaryIO

from anomaly_vae.columns.reading.options import ReadOptions
from anomaly_vae.errors import InvalidInput
from anomaly_vae.table.raw import Source
from anomaly_vae.table.sources.delimited import DelimitedSource
from anomaly_vae.table.sources.encoding import TextStream
from anomaly_vae.table.sources.formats import (
    JSON_OBJECT,
    Format,
    ending_of,
    expected_format,
    find_format,
    refuse_ending,
)
from anomaly_vae.table.sources.ipc import IpcSource
from anomaly_vae.table.sources.json_lines import JsonLinesSource, is_object
from anomaly_vae.table.sources.npy import NpySource
from anomaly_vae.table.sources.parquet import ParquetSource
from anomaly_vae.table.sources.streams import SAMPLE_BYTES, ByteStream
from anomaly_vae.table.stores.places import ObjectPath
from anomaly_vae.table.stores.reading import ObjectFile, ReadAhead, local_copy

__all__ = ["missing", "open_file", "open_pipe"]

# First bytes in which formats have their marks.
_MAGIC_BYTES = 4096

_NAMES: dict[Format, str] = {
    "text": "text with separators",
    "json lines": "JSON lines",
    "parquet": "a Parquet file",
    "ipc file": "an Arrow file",
    "ipc stream": "an Arrow stream",
    "npy": "an array of numpy.save",
}


def open_file(path: Path | ObjectPath, where: str, options: ReadOptions, sample: int = SAMPLE_BYTES) -> Source:
    """Open a file by its content. ``sample`` is the number of bytes that show how a text is written.

    Raises:
        InvalidInput: The file is missing, damaged, or of a format that cannot be read.
        RemoteError: The object store that holds the file fails.
    """
    if isinstance(path, ObjectPath):
        return _open_object(path, where, options, sample)
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        raise missing(path, where) from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise InvalidInput(f"{where}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    status = path.stat()
    is_file = stat.S_ISREG(status.st_mode)
    try:
        stream = ByteStream(file, where, status.st_size if is_file else None)
        return _open(stream, path if is_file else None, where, options, sample)
    except BaseException:
        file.close()
        raise


def _open_object(path: ObjectPath, where: str, options: ReadOptions, sample: int) -> Source:
    file: Any = ReadAhead(path)
    try:
        return _open(ByteStream(file, where, path.size), path, where, options, sample)
    except BaseException:
        file.close()
        raise


def open_pipe(file: BinaryIO, where: str, options: ReadOptions) -> Source:
    """Open CSV or JSON lines that can be read only once, such as standard input."""
    return _open(ByteStream(file, where, None, keeps_open=True), None, where, options, SAMPLE_BYTES)


def missing(path: Path, where: str) -> InvalidInput:
    """Return the error for a file that does not exist, with a name in its folder that is like it."""
    try:
        names = [entry.name for entry in path.absolute().parent.iterdir()]
    except OSError:
        return InvalidInput(f"{where}: no such file; the folder {path.parent} does not exist")
    close = difflib.get_close_matches(path.name, names, n=1)
    hint = f"; did you mean {path.parent / close[0]}?" if close else ""
    return InvalidInput(f"{where}: no such file{hint}")


def _open(stream: ByteStream, path: Path | ObjectPath | None, where: str, options: ReadOptions, sample: int) -> Source:
    ending = ending_of(str(path)) if path else ""
    found = find_format(where, stream.peek(_MAGIC_BYTES), ending)
    if found == "text":
        return _open_text(stream, ending, where, options, sample)
    if stream.compression:
        raise InvalidInput(f"{where}: is {_NAMES[found]} compressed by {stream.compression}; decompress it first")
    if path is None:
        raise InvalidInput(f"{where}: is {_NAMES[found]}, which cannot be read from a pipe; give the name of a file")
    stream.close()
    if found == "parquet":
        source: Source = ParquetSource(ObjectFile(path) if isinstance(path, ObjectPath) else path, where)
    elif isinstance(path, ObjectPath):
        with local_copy(path) as copy:
            source = _open_mapped(copy, found, where)
    else:
        source = _open_mapped(path, found, where)
    return _with_note(source, found, ending)


def _open_mapped(path: Path, found: Format, where: str) -> Source:
    """Open a file of a format that is mapped to memory."""
    return NpySource(path, where) if found == "npy" else IpcSource(path, where, is_stream=found == "ipc stream")


def _open_text(stream: ByteStream, ending: str, where: str, options: ReadOptions, sample: int) -> Source:
    refuse_ending(where, ending)
    text = TextStream(stream, options.encoding, sample)
    lines = [line for line in text.peek(sample).split(b"\n") if line.strip()]
    first = lines[0].strip() if lines else b""
    is_json = expected_format(ending) == "json lines"
    # A file of JSON lines may start with a broken one; .json is more often one value over several lines.
    has_objects = is_json and ending != ".json" and any(line.lstrip().startswith(b"{") for line in lines[:10])
    if is_object(first) or has_objects:
        return _with_note(JsonLinesSource(text, sample), "json lines", ending)
    if is_json and first.startswith(b"{"):
        raise InvalidInput(f"{where}: {JSON_OBJECT}")
    if is_json and lines:
        raise InvalidInput(
            f"{where}: holds no JSON objects, but {first[:40].decode('utf-8', 'replace')!r}; expected one JSON object "
            "per line, or a name that ends in .csv for text with separators"
        )
    return _with_note(DelimitedSource(text, options, sample), "text", ending)


def _with_note(source: Source, found: Format, ending: str) -> Source:
    """Add a note if the content contradicts the ending."""
    expected = expected_format(ending)
    both_ipc = {expected, found} == {"ipc file", "ipc stream"}
    if expected is not None and expected != found and not both_ipc and not (ending == ".txt" and found == "json lines"):
        note = f"{source.where}: is {_NAMES[found]}, and is read as such; rename it to the ending of its format"
        source.notes = (note, *source.notes)
    return source
