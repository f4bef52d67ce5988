"""Collect small batches into the larger groups of rows that Parquet and Arrow files need."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

__all__ = ["RowGroups"]

# Rows in a group. Readers skip and parallelise by group; more rows need more memory here. Chosen, not measured.
_ROWS_PER_GROUP = 65_536


class RowGroups:
    """Hands tables of many rows to a function, in the order of the batches."""

    def __init__(self, write: Callable[[pa.Table], object]) -> None:
        self._write, self._batches = write, list[pa.RecordBatch]()
        self._rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch."""
        self._batches.append(batch)
        self._rows += batch.num_rows
        if self._rows >= _ROWS_PER_GROUP:
            self._flush()

    def __enter__(self) -> RowGroups:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._batches:
            self._flush()

    def _flush(self) -> None:
        self._write(pa.Table.from_batches(self._batches))
        self._batches, self._rows = [], 0
