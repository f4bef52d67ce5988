"""Cut rows into groups of one size, whatever the size of the batches: equal rows give equal files, byte for byte."""

from __future__ import annotations

from typing import Protocol

import pyarrow as pa

__all__ = ["ROWS_AS_TEXT", "ROWS_PER_GROUP", "RowGroups"]

# Rows in a group. Readers of Parquet skip and parallelise by group; more rows need more memory here. Rows that become
# texts are many Python objects. Chosen, not measured.
ROWS_PER_GROUP, ROWS_AS_TEXT = 65_536, 4_096


class _Writer(Protocol):
    def write(self, batch: pa.RecordBatch) -> None: ...


class RowGroups:
    """Hands groups of rows to a writer, in the order of the batches; only the last group has fewer rows."""

    def __init__(self, writer: _Writer, size: int = ROWS_PER_GROUP) -> None:
        """Hand groups of ``size`` rows to the writer."""
        self._writer, self._size, self._batches = writer, size, list[pa.RecordBatch]()
        self._rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch."""
        while batch.num_rows >= (room := self._size - self._rows):
            self._batches.append(batch.slice(0, room))
            self._flush()
            batch = batch.slice(room)
        if batch.num_rows:
            self._batches.append(batch)
            self._rows += batch.num_rows

    def __enter__(self) -> RowGroups:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._batches:
            self._flush()

    def _flush(self) -> None:
        table = pa.Table.from_batches(self._batches)
        batches = table.combine_chunks().to_batches() if len(self._batches) > 1 else self._batches
        for batch in batches:  # several if a column of texts is too long for one
            self._writer.write(batch)
        self._batches, self._rows = [], 0
