"""Parquet files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from anomaly_vae.errors import InvalidInput
from anomaly_vae.table.base import BATCH_ROWS, first_line
from anomaly_vae.table.raw import RawBatch
from anomaly_vae.table.sources.typed import TypedSource, pick, plain_type
from anomaly_vae.table.stores.reading import ObjectFile

__all__ = ["ParquetSource"]


class ParquetSource(TypedSource):
    """A Parquet file. See :class:`~anomaly_vae.table.raw.Source`."""

    def __init__(self, path: Path | ObjectFile, where: str) -> None:
        """Open a file; one in an object store is read by requests for the pages that are needed."""
        self.where, self.notes, self._opened = where, tuple[str, ...](), path
        try:
            # Without pre-buffering and with a buffer of 1 MiB, large row groups are read page by page, in bounded
            # memory.
            self._file = pyarrow.parquet.ParquetFile(path, pre_buffer=False, buffer_size=2**20)
            self._schema: pa.Schema = self._file.schema_arrow
            self.names: tuple[str, ...] = tuple(self._schema.names)
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            raise InvalidInput(f"{where}: damaged, or not a Parquet file: {first_line(error)}") from error
        if not self.names:
            raise InvalidInput(f"{where}: has no columns")
        self._total, self._done = self._file.metadata.num_rows, 0
        self._groups: list[int] | None = None

    def take_groups(self, groups: range) -> None:
        """Read only these row groups."""
        metadata = self._file.metadata
        self._done = sum(metadata.row_group(group).num_rows for group in range(groups.start))
        self._groups = list(groups)

    def type_of(self, name: str) -> pa.DataType:
        """See :class:`~anomaly_vae.table.raw.Source`."""
        return plain_type(self._schema.field(self.names.index(name)).type)

    def choose_groups(self, may_hold: Callable[[Any], bool]) -> tuple[int, int]:
        """Read only row groups that may hold rows of interest.

        Args:
            may_hold: Is given the metadata of a row group.

        Returns:
            The number of row groups that are not read, and of all.
        """
        metadata = self._file.metadata
        self._groups = [i for i in range(metadata.num_row_groups) if may_hold(metadata.row_group(i))]
        self._total = sum(metadata.row_group(i).num_rows for i in self._groups)
        return metadata.num_row_groups - len(self._groups), metadata.num_row_groups

    def batches(self, names: Sequence[str]) -> Iterator[RawBatch]:
        """See :class:`~anomaly_vae.table.raw.Source`."""
        read = list(dict.fromkeys(names)) or [self.names[0]]
        try:
            for batch in self._file.iter_batches(BATCH_ROWS, self._groups, columns=read, use_threads=False):
                batch.validate(full=True)  # of a damaged file, texts may not be UTF-8
                self._done += batch.num_rows
                yield RawBatch(pick(batch, names), [None] * batch.num_rows)
        except (OSError, pa.ArrowException) as error:
            raise InvalidInput(f"{self.where}: damaged after {self._done} rows: {first_line(error)}") from error
        finally:
            self.close()

    def close(self) -> None:
        """Close the file; reading it to its end does so too."""
        self._file.close()
        if isinstance(self._opened, ObjectFile):
            self._opened.close()

    def progress(self) -> tuple[float, float | None]:
        """Return the rows handed out and the rows in the file."""
        return self._done, self._total
