"""Writers of tables: CSV, Parquet, or CSV on standard output. A file appears only when it is complete."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from anomaly_vae.errors import ConfigError
from anomaly_vae.storage import atomic_file

__all__ = ["ENDINGS", "Writer", "check_ending", "fits_csv", "open_writer"]

ENDINGS = (".csv", ".parquet")

# Rows in a Parquet row group. Readers skip and parallelise by row group; more rows need more memory here. Chosen, not
# measured.
_ROWS_PER_GROUP = 65_536


class Writer(Protocol):
    """Writes record batches of one schema."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch."""
        ...


@contextlib.contextmanager
def open_writer(path: str, schema: pa.Schema, *, overwrite: bool) -> Iterator[Writer]:
    """Open a writer; the file appears only if the block ends without an error. ``-`` is CSV on standard output.

    Raises:
        ConfigError: The ending is unknown, or the file exists and ``overwrite`` is False.
    """
    if path == "-":
        if sys.stdout is None:
            raise ConfigError("standard output is closed; give -o the name of a file")
        with pyarrow.csv.CSVWriter(sys.stdout.buffer, schema) as writer:
            yield writer
        sys.stdout.buffer.flush()
        return
    with atomic_file(check_ending(path), overwrite=overwrite) as part, part.open("wb") as file:
        if path.lower().endswith(".csv"):
            with pyarrow.csv.CSVWriter(file, schema) as writer:
                yield writer
        else:
            with pyarrow.parquet.ParquetWriter(file, schema) as parquet, _RowGroups(parquet) as writer:
                yield writer


def check_ending(path: str) -> Path:
    """Return the path; raise ConfigError if its ending is not one of ``ENDINGS``."""
    if Path(path).suffix.lower() not in ENDINGS:
        raise ConfigError(f"{path}: expected a file ending in {' or '.join(ENDINGS)}, or - for CSV on standard output")
    return Path(path)


def fits_csv(kind: pa.DataType) -> bool:
    """Return whether a column of this type can be written as CSV."""
    types = pa.types
    return not (types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind))


class _RowGroups:
    """Collects small batches and writes them as row groups."""

    def __init__(self, writer: pyarrow.parquet.ParquetWriter) -> None:
        self._writer, self._batches = writer, list[pa.RecordBatch]()
        self._rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        self._batches.append(batch)
        self._rows += batch.num_rows
        if self._rows >= _ROWS_PER_GROUP:
            self._flush()

    def __enter__(self) -> _RowGroups:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._batches:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_batches(self._batches))
        self._batches, self._rows = [], 0
