"""Parquet tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from anomaly_vae.columns.rows import text_of
from anomaly_vae.errors import InvalidInput
from anomaly_vae.table.arrow import to_float64
from anomaly_vae.table.base import BATCH_ROWS, Batch, faults_of, first_line, wrong_type
from anomaly_vae.table.codes import CodeBook

__all__ = ["ParquetTable"]


class ParquetTable:
    """A Parquet table. The types of its columns come from its schema."""

    def __init__(self, path: Path) -> None:
        self._where = str(path)
        # Without pre-buffering and with a buffer of 1 MiB, large row groups are read page by page, in bounded memory.
        self._file = pyarrow.parquet.ParquetFile(path, pre_buffer=False, buffer_size=2**20)
        self.names = tuple(self._file.schema_arrow.names)
        self._total, self._done = self._file.metadata.num_rows, 0

    def schema_of(self, keep: Sequence[str]) -> pa.Schema:
        """See :class:`~.base.Table`."""
        return pa.schema([self._file.schema_arrow.field(name) for name in keep])

    def batches(
        self, columns: Sequence[str], keep: Sequence[str] = (), book: CodeBook | None = None
    ) -> Iterator[Batch]:
        """See :class:`~.base.Table`."""
        book = book or CodeBook()
        for name in columns:
            kind = self._file.schema_arrow.field(name).type
            if book.grows and _is_text(kind):
                book.add(name)
            if not (_is_number(kind) or (name in book and _is_text(kind))):
                raise wrong_type(self._where, name, str(kind))
        names = list(dict.fromkeys([*columns, *keep]))
        try:
            for batch in self._file.iter_batches(BATCH_ROWS, columns=names, use_threads=False):
                rows = np.empty((batch.num_rows, len(columns)))
                for d, name in enumerate(columns):
                    cells = batch.column(name)
                    if name in book:
                        rows[:, d] = book.encode(name, [text_of(cell) for cell in cells.to_pylist()])
                    else:
                        rows[:, d] = to_float64(cells)
                yield Batch(rows, faults_of(rows, columns), batch.select(list(keep)))
                self._done += batch.num_rows
        except (OSError, pa.ArrowException) as error:
            raise InvalidInput(f"{self._where}: damaged after {self._done} rows: {first_line(error)}") from error

    def progress(self) -> tuple[float, float | None]:
        """Return the rows read and the rows in the file."""
        return self._done, self._total


def _is_text(kind: pa.DataType) -> bool:
    types = pa.types
    if types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return any(check(kind) for check in (types.is_string, types.is_large_string, types.is_string_view))


def _is_number(kind: pa.DataType) -> bool:
    types = pa.types
    return any(check(kind) for check in (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal))
