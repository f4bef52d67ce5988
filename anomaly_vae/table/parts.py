"""A table cut into parts that other processes can read: each is some rows of one file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet

from anomaly_vae.columns.reading.cells import CellReader
from anomaly_vae.columns.reading.options import ReadOptions
from anomaly_vae.errors import ConfigError
from anomaly_vae.table.base import Batch
from anomaly_vae.table.raw import RawBatch, Source
from anomaly_vae.table.reader import Table, parse
from anomaly_vae.table.sources.files import open_file
from anomaly_vae.table.sources.folder import FolderSource
from anomaly_vae.table.sources.parquet import ParquetSource

__all__ = ["TablePart", "cut"]

# Most rows of a part of a Parquet file: a worker takes seconds for them, far more than sending it a part, and they are
# what is scored again if it dies. It is also the size of the largest blocks. Chosen, not measured.
_MOST_ROWS = 65_536


class _Range(NamedTuple):
    """Rows of a Parquet file: its row groups, without the first rows of them, and the number of rows."""

    groups: range
    skip: int
    rows: int


class _File(NamedTuple):
    """A table of one file, to be opened by another process."""

    path: Path
    where: str
    options: ReadOptions

    def opened(self, groups: range | None) -> Source:
        source = open_file(self.path, self.where, self.options)
        if groups is not None and isinstance(source, ParquetSource):
            source.take_groups(groups)
        return source


class TablePart(NamedTuple):
    """Some rows of one file. It can be pickled.

    Attributes:
        fragment: The number of the file, from 0.
        source: The file.
        groups: Its row groups, for Parquet files; None for all.
        skip: Rows to leave out at the beginning.
        rows: The number of rows after these; None for all.
        size: Its share of the bytes of the file, for a progress bar.
    """

    fragment: int
    source: _File | FolderSource
    groups: range | None
    skip: int
    rows: int | None
    size: float

    @property
    def left_out(self) -> str | None:
        """What is wrong with the file, if it is to be left out; known once it was read."""
        return self.source.skipped.get(self.fragment) if isinstance(self.source, FolderSource) else None

    def batches(self, reader: CellReader, keep: Sequence[str]) -> Iterator[Batch]:
        """Read the rows.

        Args:
            reader: How cells are read; see :meth:`anomaly_vae.table.Table.reader_for`.
            keep: Columns to return unchanged.

        Raises:
            InvalidInput: The file is damaged, and is not to be left out.
        """
        source = self.source.opened(self.groups) if isinstance(self.source, _File) else self.source
        names = list(dict.fromkeys([*reader.names, *keep]))
        for raw in _rows(source.batches(names), self.skip, self.rows):
            yield parse(raw, reader, keep)._replace(fragment=self.fragment)


def cut(table: Table, start: tuple[int, int] = (0, 0)) -> list[TablePart]:
    """Cut a table into parts, in the order of their rows; only Parquet files have more than one.

    Args:
        table: Its first rows may have been read.
        start: The file and its row, both from 0, to begin with.

    Raises:
        ConfigError: The table is a pipe.
    """
    if not table.fragments:
        raise ConfigError(f"{table.source.where}: is a pipe, which only this process can read; give the name of a file")
    parts = list[TablePart]()
    for fragment in range(start[0], len(table.fragments)):
        if fragment not in table.skipped:
            parts += _cut_file(table, fragment, start[1] if fragment == start[0] else 0)
    return parts


def _cut_file(table: Table, fragment: int, before: int) -> list[TablePart]:
    """Cut a file into parts, without its first rows."""
    file, source = table.fragments[fragment], table.source
    path = Path(file.where).expanduser().absolute()
    ranges = [] if source.is_text else _ranges(path)
    if not ranges:
        whole: _File | FolderSource = _File(path, file.where, table.options)
        if isinstance(source, FolderSource):
            whole = source.only(fragment)
        return [TablePart(fragment, whole, None, before, None, float(file.size))]
    parts, total = list[TablePart](), sum(each.rows for each in ranges)
    for groups, skip, rows in ranges:
        dropped, before = min(before, rows), max(before - rows, 0)
        if dropped < rows:
            part = source.only(fragment, groups) if isinstance(source, FolderSource) else None
            size = file.size * (rows - dropped) / total
            read_from = part or _File(path, file.where, table.options)
            parts.append(TablePart(fragment, read_from, groups, skip + dropped, rows - dropped, size))
    return parts


def _ranges(path: Path) -> list[_Range]:
    """Return the parts of a Parquet file with rows; none for other files, and for one whose footer is damaged."""
    try:
        metadata = pyarrow.parquet.read_metadata(path)
    except (OSError, pa.ArrowException):
        return []
    sizes = {group: metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)}
    return list(_joined(sizes))


def _joined(sizes: Mapping[int, int]) -> Iterator[_Range]:
    """Join small row groups, and divide large ones into parts of one size."""
    first, rows = 0, 0
    for group, size in sizes.items():
        if rows and rows + size > _MOST_ROWS:
            yield _Range(range(first, group), 0, rows)
            first, rows = group, 0
        if size > _MOST_ROWS:
            step = -(-size // -(-size // _MOST_ROWS))
            yield from (_Range(range(group, group + 1), at, min(step, size - at)) for at in range(0, size, step))
            first = group + 1
        else:
            rows += size
    if rows:
        yield _Range(range(first, len(sizes)), 0, rows)


def _rows(raws: Iterator[RawBatch], skip: int, rows: int | None) -> Iterator[RawBatch]:
    """Yield the rows after the first ones, and stop reading at their end."""
    for raw in raws:
        count = len(raw.faults)
        taken = slice(min(skip, count), count if rows is None else min(skip + rows, count))
        skip -= taken.start
        if taken.stop > taken.start:
            length = taken.stop - taken.start
            yield RawBatch(raw.columns.slice(taken.start, length), raw.faults[taken], raw.fragment)
            if rows is not None:
                rows -= length
                if not rows:
                    return
