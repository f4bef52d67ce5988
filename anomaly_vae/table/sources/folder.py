"""Many files as one table: the rows of the files in the order of their names."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from anomaly_vae.arrow.buffers import from_strings
from anomaly_vae.columns.reading.options import ReadOptions
from anomaly_vae.columns.reading.records import Decimal
from anomaly_vae.errors import InvalidInput
from anomaly_vae.table.base import first_line
from anomaly_vae.table.raw import Fragment, RawBatch
from anomaly_vae.table.sources.discovery import Found, partition_keys
from anomaly_vae.table.sources.files import open_file
from anomaly_vae.table.sources.json_lines import JsonLinesSource
from anomaly_vae.table.sources.parquet import ParquetSource
from anomaly_vae.table.sources.typed import common_type
from anomaly_vae.table.stores.places import ObjectPath

__all__ = ["FolderSource"]

# First bytes of each file that show how it is written, if it is a text. There may be thousands of files.
_SAMPLE_BYTES = 2**16

# Names in a message.
_SHOWN = 3


class _File(NamedTuple):
    """A file: its path, its name in messages, its size in bytes, the values of its partition keys, its number."""

    path: Path | ObjectPath
    where: str
    size: int
    keys: dict[str, str | None]
    number: int


class FolderSource:
    """The files of a data set as one table. See :class:`~anomaly_vae.table.raw.Source`.

    Its columns are those of the files, which must agree, and then the partition keys as texts. A key of which the
    files have a column is left out. Files of JSON lines may lack columns, as their rows may.

    Files that cannot be read, and those whose columns differ, are left out if that was asked for. Otherwise they are
    errors.

    Attributes:
        nested: As in JSON lines; empty for other formats.
        on_open: Called with the source of each file before its rows are read; None for nothing.
    """

    on_open: Callable[[Any], None] | None = None

    def __init__(self, found: Found, where: str, options: ReadOptions, *, skips: bool = False) -> None:
        self.where, self._options, self._skips = where, options, skips
        self.fragments = tuple(_fragment(path, found.root) for path in found.files)
        self._files = [
            _File(path, each.where, each.size, partition_keys(Path(each.name)), number)
            for number, (path, each) in enumerate(zip(found.files, self.fragments, strict=True))
        ]
        self.skipped: dict[int, str] = {}
        self._from = 0
        self._groups: range | None = None
        self.nested: dict[str, str] = {}
        self._types: dict[str, pa.DataType] = {}
        self._names: tuple[str, ...] = ()
        self._notes: dict[str, list[str]] = {}
        self._decimals: dict[Decimal, str] = {}
        self.certain_decimals: Mapping[str, Decimal] = {}
        if skips:
            self._leave_out()
        first = self._add(self._files[0], None)
        for file in self._files[1:]:
            with self._skipping(file):
                self._add(file, first)
        self._files = sorted((file for file in self._files if file.number not in self.skipped), key=lambda f: f.number)
        self.is_text: bool = first.is_text
        self.encoding: str | None = first.encoding
        self.decimal = next(iter(self._decimals)) if len(self._decimals) == 1 else None
        self._keys = [key for key in self._files[0].keys if key not in self._names]
        self.names = (*self._names, *self._keys)
        self.notes = self._all_notes(found.ignored)
        self._before, self._current = 0.0, 0.0
        self._total = float(sum(file.size for file in self._files))

    @property
    def key_names(self) -> tuple[str, ...]:
        """The columns that are partition keys."""
        return tuple(self._keys)

    def type_of(self, name: str) -> pa.DataType:
        """See :class:`~anomaly_vae.table.raw.Source`."""
        return pa.string() if name in self._keys else self._types[name]

    def progress(self) -> tuple[float, float | None]:
        """Return the bytes handed out and the bytes of all files."""
        return self._before + self._current, self._total

    def close(self) -> None:
        """Do nothing: no file is open before it is read."""

    def batches(self, names: Sequence[str]) -> Iterator[RawBatch]:
        """See :class:`~anomaly_vae.table.raw.Source`."""
        for file in self._files:
            if file.number >= self._from:
                with self._skipping(file):
                    yield from self._batches_of(file, names)
            self._before += file.size
            self._current = 0.0

    def skip_to(self, fragment: int) -> None:
        """See :class:`~anomaly_vae.table.raw.Source`."""
        self._from = fragment

    def only(self, fragment: int, groups: range | None = None) -> FolderSource:
        """Return a source of one of the files, which can be sent to another process; no file is opened.

        Args:
            fragment: The number of the file.
            groups: The row groups to read, for Parquet files; None for all rows.
        """
        source = copy.copy(self)
        source._files = [
            each._replace(path=each.path if isinstance(each.path, ObjectPath) else each.path.absolute())
            for each in self._files
            if each.number == fragment
        ]
        source._groups, source._from = groups, 0
        source.fragments, source.skipped, source.notes, source._notes = (), {}, (), {}
        return source

    def _batches_of(self, file: _File, names: Sequence[str]) -> Iterator[RawBatch]:
        source: Any = open_file(file.path, file.where, self._options, _SAMPLE_BYTES)
        if not isinstance(source, JsonLinesSource) and sorted(source.names) != sorted(self._names):
            source.close()
            raise InvalidInput(f"{file.where}: changed while the files were read")
        if self._groups is not None and isinstance(source, ParquetSource):
            source.take_groups(self._groups)
        if self.on_open is not None:
            self.on_open(source)
        for batch in source.batches([name for name in names if name not in self._keys]):
            done, total = source.progress()
            self._current = file.size * done / total if total else 0.0
            yield RawBatch(self._with_keys(batch, names, file), batch.faults, file.number)

    @contextlib.contextmanager
    def _skipping(self, file: _File) -> Iterator[None]:
        """Leave the file out if it is wrong, or raise InvalidInput."""
        try:
            yield
        except InvalidInput as error:
            if not self._skips:
                raise
            self.skipped[file.number] = str(error)

    def _leave_out(self) -> None:
        """Leave out files that cannot be opened; put one with the columns of most files first.

        Raises:
            InvalidInput: None can be opened.
        """
        by_columns: dict[tuple[str, ...], list[_File]] = {}
        failures: list[InvalidInput] = []
        for file in self._files:
            try:
                source: Any = open_file(file.path, file.where, self._options, _SAMPLE_BYTES)
            except InvalidInput as error:
                self.skipped[file.number] = str(error)
                failures.append(error)
                continue
            source.close()
            by_columns.setdefault(tuple(sorted(source.names)), []).append(file)
        if not by_columns:
            raise failures[0]
        usual = max(by_columns.values(), key=len)[0]
        others = [file for file in self._files if file.number not in self.skipped and file is not usual]
        self._files = [usual, *others]

    def _with_keys(self, batch: RawBatch, names: Sequence[str], file: _File) -> pa.RecordBatch:
        columns = []
        for name in names:
            if name in self._keys:
                columns.append(from_strings([file.keys[name]] * len(batch.faults)))
                continue
            column, kind = batch.columns.column(batch.columns.schema.names.index(name)), self._types[name]
            try:
                columns.append(column if column.type == kind else column.cast(kind, safe=pa.types.is_timestamp(kind)))
            except pa.ArrowInvalid as error:
                raise InvalidInput(f"{file.where}: column {name!r}: {first_line(error)}", field=name) from error
        return pa.RecordBatch.from_arrays(columns, names=list(names))

    def _add(self, file: _File, opened: Any | None) -> Any:
        """Open a file, compare it with the first one that was opened, and return its source."""
        source: Any = open_file(file.path, file.where, self._options, _SAMPLE_BYTES)
        source.close()
        first = self._files[0]
        if opened is None:
            self._names = source.names
        elif source.is_text != opened.is_text:
            raise InvalidInput(f"{self.where}: {file.where} has another format than {first.where}; choose by a pattern")
        if list(file.keys) != list(first.keys):
            raise InvalidInput(
                f"{self.where}: the folders of {file.where} have the keys {list(file.keys)}, those of {first.where} "
                f"{list(first.keys)}; expected the same keys, such as year=2024, for all files"
            )
        if isinstance(source, JsonLinesSource):
            self.nested = source.nested | self.nested
            self._names = tuple(dict.fromkeys([*self._names, *source.names]))
        elif sorted(source.names) != sorted(self._names):
            raise InvalidInput(self._difference(source, file))
        for name in source.names:
            known, kind = self._types.get(name), source.type_of(name)
            common = kind if known is None else common_type(known, kind)
            if common is None:
                raise InvalidInput(
                    f"{self.where}: column {name!r} is {kind} in {file.where}, but {known} in the files before it; "
                    "write all files with the same types",
                    field=name,
                )
            self._types[name] = common
        self.certain_decimals = {**self.certain_decimals, **source.certain_decimals}
        if source.decimal:
            self._decimals.setdefault(source.decimal, file.where)
        for note in source.notes:
            self._notes.setdefault(note.removeprefix(f"{file.where}: "), []).append(file.where)
        return source

    def _difference(self, source: Any, file: _File) -> str:
        lacks = [name for name in self._names if name not in source.names]
        adds = [name for name in source.names if name not in self._names]
        parts = [f"lacks {_shown(lacks)}"] * bool(lacks) + [f"has also {_shown(adds)}"] * bool(adds)
        return (
            f"{self.where}: the files have different columns: {file.where} "
            f"{' and '.join(parts) or 'has a column twice'}, compared with {self._files[0].where}; write all files "
            "with the same columns, or choose some by a pattern"
        )

    def _all_notes(self, ignored: list[str]) -> tuple[str, ...]:
        count = len(self._files)
        others = f"; ignored: {', '.join(ignored[:_SHOWN])}{_more(ignored)}" if ignored else ""
        notes = [f"{self.where}: {count} file{'s' if count > 1 else ''}{others}"]
        for text, places in self._notes.items():
            shown = ", ".join(places[:_SHOWN]) + _more(places) if len(places) < count else self.where
            notes.append(f"{shown}: {text}")
        if len(self._decimals) > 1 and not self.certain_decimals:
            shown = " and ".join(f"{mark!r} in {place}" for mark, place in self._decimals.items())
            raise InvalidInput(
                f"{self.where}: the files have different decimal marks, {shown}; read them apart, chosen by patterns, "
                "or name the mark of all with --decimal"
            )
        return tuple(notes)


def _fragment(path: Any, root: Any) -> Fragment:
    """Describe a file; what is wrong with one that is not there, reading it will say."""
    name = path.relative_to(root).as_posix()
    if isinstance(path, ObjectPath):
        return Fragment(name, str(path), path.size, path.modified_ns)
    try:
        status = path.stat()
    except OSError:
        return Fragment(name, str(path), 0, 0)
    return Fragment(name, str(path), status.st_size, status.st_mtime_ns)


def _shown(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:_SHOWN])) + _more(names)


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
