"""Writers of tables by the ending of the file, or CSV on standard output. A file appears only when it is complete."""

from __future__ import annotations

import contextlib
import gzip
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet

from anomaly_vae.caller import warn_caller
from anomaly_vae.errors import ConfigError
from anomaly_vae.storage import atomic_file, refuse_file
from anomaly_vae.table.writers.groups import ROWS_AS_TEXT, ROWS_PER_GROUP, RowGroups
from anomaly_vae.table.writers.json_lines import JsonLinesWriter
from anomaly_vae.table.writers.npy import NpyWriter, fits_matrix

__all__ = ["ENDINGS", "Writer", "check_ending", "open_part", "open_writer", "refuse_output", "refuse_type"]

_CODECS = (".gz", ".zst")
_TEXTS = (".csv", ".tsv", ".jsonl", ".ndjson")
_OTHERS = (".parquet", ".arrow", ".feather", ".npy")

ENDINGS = (*_TEXTS, *(text + codec for text in _TEXTS for codec in _CODECS), *_OTHERS)


class Writer(Protocol):
    """Writes record batches of one schema."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch."""
        ...


@contextlib.contextmanager
def open_writer(path: str, schema: pa.Schema, *, overwrite: bool) -> Iterator[Writer]:
    """Open a writer; the file appears only if the block ends without an error. ``-`` is CSV on standard output.

    A .npy file holds the columns that are numbers or booleans; other columns are left out.

    Raises:
        ConfigError: The ending is unknown, or the file exists and ``overwrite`` is False.
    """
    if path == "-":
        _refuse_closed()
        with _CsvWriter(sys.stdout.buffer, schema) as writer:
            yield writer
        sys.stdout.buffer.flush()
        return
    target = check_ending(path)
    with atomic_file(target, overwrite=overwrite) as part, open_part(part, path, schema) as out:
        yield out


@contextlib.contextmanager
def open_part(part: Path, path: str, schema: pa.Schema) -> Iterator[Writer]:
    """Open a writer of the file ``part``, with the format that ``path`` has; it will have that name when complete."""
    ending = _ending(path)
    if ending == ".npy":
        _warn_left_out(path, schema)
    size = ROWS_AS_TEXT if str(ending).startswith(_TEXTS) else ROWS_PER_GROUP
    with part.open("wb") as file, _writer(file, ending, schema) as out, RowGroups(out, size) as cut:
        yield cut


def refuse_output(path: str, *, overwrite: bool) -> None:
    """Raise ConfigError if :func:`open_writer` could not write there, as far as can be known before."""
    if path == "-":
        _refuse_closed()
    else:
        refuse_file(check_ending(path), overwrite=overwrite)


def _refuse_closed() -> None:
    if sys.stdout is None:
        raise ConfigError("standard output is closed; give -o the name of a file")


def check_ending(path: str) -> Path:
    """Return the path; raise ConfigError if its ending is not one of ``ENDINGS``."""
    if _ending(path) is None:
        raise ConfigError(
            f"{path}: expected a file ending in {', '.join(_TEXTS)} (also with .gz or .zst), {', '.join(_OTHERS[:-1])} "
            f"or {_OTHERS[-1]}, or - for CSV on standard output"
        )
    return Path(path)


def refuse_type(path: str, kind: pa.DataType) -> str | None:
    """Return why a file of this name cannot hold a column of this type, or None if it can."""
    ending = ".csv" if path == "-" else _ending(path) or ".csv"
    types = pa.types
    is_binary = any(
        check(kind)
        for check in (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view)
    )
    is_rare = types.is_interval(kind) or types.is_run_end_encoded(kind) or types.is_union(kind)
    is_extension = isinstance(kind, pa.BaseExtensionType)
    if ending == ".npy":
        fits, others = fits_matrix(kind), "a .csv or .parquet file" if _fits_csv(kind) else "a .parquet or .arrow file"
    elif ending in (".arrow", ".feather"):
        fits, others = True, ""
    elif ending == ".parquet":
        fits, others = not is_rare, "an .arrow file"
    elif ending.startswith((".jsonl", ".ndjson")):
        fits, others = not (is_rare or is_binary or is_extension), "a .parquet or .arrow file"
    else:
        fits = not (is_rare or is_binary or is_extension or types.is_nested(kind))
        others = "a .parquet, .arrow or .jsonl file" if types.is_nested(kind) else "a .parquet or .arrow file"
    return None if fits else f"{kind} does not fit in {_format(ending)}; write {others}"


def _warn_left_out(path: str, schema: pa.Schema) -> None:
    """Name the columns that a .npy file does not hold, and the order of the others: it has no names."""
    held = [field.name for field in schema if fits_matrix(field.type)]
    left_out = [name for name in schema.names if name not in held]
    if not held:
        raise ConfigError(f"{path}: no column is a number, and a .npy file holds only numbers; write a .csv file")
    if left_out:
        columns = f"its columns are {', '.join(held)}; left out: {', '.join(left_out)}"
        warn_caller(f"{path} holds numbers without names: {columns}")


def _fits_csv(kind: pa.DataType) -> bool:
    return refuse_type("-", kind) is None


def _ending(path: str) -> str | None:
    """Return the ending in small letters; None if it is unknown, or if nothing comes before it."""
    name = Path(path).name.lower()
    return next((ending for ending in ENDINGS if name.endswith(ending) and name != ending), None)


def _format(ending: str) -> str:
    return "CSV" if ending.startswith(".csv") else f"a {ending} file"


@contextlib.contextmanager
def _writer(file: BinaryIO, ending: str | None, schema: pa.Schema) -> Iterator[Writer]:
    if ending == ".npy":
        with NpyWriter(file, schema) as npy:
            yield npy
    elif ending == ".parquet":
        with pyarrow.parquet.ParquetWriter(file, schema) as parquet:
            yield _TableWriter(parquet.write_table)
    elif ending in (".arrow", ".feather"):
        options = pa.ipc.IpcWriteOptions(compression="lz4" if ending == ".feather" else None)
        plain = _without(schema, pa.types.is_dictionary)  # an Arrow file has only one dictionary for all its batches
        with pa.ipc.new_file(file, plain, options=options) as arrow:
            yield _TableWriter(lambda table: arrow.write_table(table.cast(plain).combine_chunks()))
    else:
        name = Path(str(ending))
        with contextlib.ExitStack() as stack:
            sink: Any = file
            if name.suffix in _CODECS:
                sink = stack.enter_context(_compressed(file, name.suffix))
            if name.name.startswith((".jsonl", ".ndjson")):
                yield JsonLinesWriter(sink)
            else:
                yield stack.enter_context(_CsvWriter(sink, schema, "\t" if name.name.startswith(".tsv") else ","))


def _compressed(file: BinaryIO, codec: str) -> Any:
    if codec == ".zst":
        return pa.CompressedOutputStream(pa.PythonFile(file, "w"), "zstd")
    # pyarrow has only level 9. Measured on random numbers: level 4 takes a quarter of the time, and the file is 2 %
    # larger. Without a name and a time in it, equal tables give equal files.
    return gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=4, mtime=0)


class _TableWriter:
    """Writes every batch as a group of rows."""

    def __init__(self, write: Callable[[pa.Table], object]) -> None:
        self._write = write

    def write(self, batch: pa.RecordBatch) -> None:
        self._write(pa.Table.from_batches([batch]))


class _CsvWriter:
    """pyarrow's writer, for all types of texts."""

    def __init__(self, sink: Any, schema: pa.Schema, separator: str = ",") -> None:
        self._schema = _without(schema, pa.types.is_string_view)
        options = pyarrow.csv.WriteOptions(delimiter=separator)
        self._writer = pyarrow.csv.CSVWriter(sink, self._schema, write_options=options)

    def write(self, batch: pa.RecordBatch) -> None:
        self._writer.write(batch if batch.schema == self._schema else batch.cast(self._schema))

    def __enter__(self) -> _CsvWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()


def _without(schema: pa.Schema, check: Any) -> pa.Schema:
    """Return the schema with plain types instead of dictionaries or views."""
    fields = []
    for field in schema:
        kind = field.type
        if check(kind):
            kind = kind.value_type if pa.types.is_dictionary(kind) else pa.string()
        fields.append(field.with_type(kind))
    return pa.schema(fields, schema.metadata)
