"""A table: the rows of a source as numbers, read as training read them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import pyarrow as pa

from anomaly_vae.arrow.cells import sample_column
from anomaly_vae.arrow.rows import read_rows
from anomaly_vae.caller import warn_caller
from anomaly_vae.columns.reading.cells import CellReader
from anomaly_vae.columns.reading.missing import Markers, text_of
from anomaly_vae.columns.reading.numbers import decimal_evidence
from anomaly_vae.columns.reading.options import ReadOptions
from anomaly_vae.columns.reading.recognise import ROWS_TO_RECOGNISE, Sample
from anomaly_vae.columns.reading.records import LeftOut, NumberReading, Reading, TextReading
from anomaly_vae.errors import InvalidInput
from anomaly_vae.table.base import Batch
from anomaly_vae.table.raw import Fragment, RawBatch, Source

__all__ = ["Table", "parse"]

# Three digits after a mark: decimals, or the end of thousands.
_EITHER_MARK = re.compile(r"(?<![0-9.,])[0-9]{1,3}[.,][0-9]{3}(?![0-9.,])")
_SHOWN_CELL = 40

_QUOTE_HINT = " (is a quote left open?)"

# Cells that a column of texts must have before it counts as strange that none is known. Chosen, not measured.
_CELLS_TO_COMPARE = 20


class Table:
    """A table that can be read once, from the first row to the last.

    Attributes:
        source: The file behind it.
        names: The names of its columns.
        missing_values: Markers of missing cells beside those of a reader.
        settings: How it is read, as far as the user said so, for the comparison with another job.
        options: How the user said that its texts are read.
    """

    settings = ""
    options = ReadOptions()

    def __init__(self, source: Source, missing_values: Sequence[str] = ()) -> None:
        """Read a source; ``missing_values`` are markers beside those of the reader."""
        self.source, self.names, self.missing_values = source, source.names, tuple(missing_values)
        self._rest: Iterator[RawBatch] = iter(())
        self._first: list[RawBatch] | None = None
        self._progress = source.progress

    @property
    def fragments(self) -> tuple[Fragment, ...]:
        """The files; empty for a pipe."""
        return self.source.fragments

    @property
    def skipped(self) -> Mapping[int, str]:
        """What is wrong with files that were left out, by their number; complete once the last row is read."""
        return self.source.skipped

    def leave_out(self, fragment: int, why: str) -> None:
        """Note that another process found a file that cannot be read; see :attr:`skipped`."""
        if not isinstance(self.source.skipped, dict):
            raise TypeError(f"{self.source.where}: no file of this table can be left out")
        self.source.skipped[fragment] = why

    def schema_of(self, keep: Sequence[str]) -> pa.Schema:
        """Return the names and types of the kept columns."""
        return pa.schema([(name, self.source.type_of(name)) for name in keep])

    def samples(self, names: Sequence[str], markers: Markers) -> dict[str, Sample]:
        """Return what the types and the first rows show of these columns; :meth:`batches` then reads no others."""
        self._begin(names)
        return {
            name: self._sample(name, markers)
            if name not in self._nested()
            else Sample("unusable", f"nested values ({self._nested()[name]})")
            for name in names
        }

    def batches(self, reader: CellReader, keep: Sequence[str] = (), start: tuple[int, int] = (0, 0)) -> Iterator[Batch]:
        """Read the table in batches; the call itself reads the first one, and compares the columns with training.

        Args:
            reader: The columns to read as numbers.
            keep: Columns to return unchanged.
            start: The file and its row, both from 0, to begin with. How cells are read still depends on the first rows
                of the table.

        Raises:
            InvalidInput: A column is of another type than in training, or the table is damaged.
        """
        reader = self.reader_for(reader, keep)
        first, self._first = self._first or [], None
        raws: Iterator[RawBatch] = itertools.chain(first, self._rest)
        if start != (0, 0):
            self.source.skip_to(start[0])
            raws = _from(raws, *start)
        parsed = [parse(raw, reader, keep) for raw in itertools.islice(raws, 1)]
        return itertools.chain(parsed, (parse(raw, reader, keep) for raw in raws))

    def reader_for(self, reader: CellReader, keep: Sequence[str] = ()) -> CellReader:
        """Return how the cells of this table are read, after a comparison of its first rows with training.

        Args:
            reader: The columns to read as numbers.
            keep: Columns to return unchanged.

        Raises:
            InvalidInput: A column is of another type than in training, or the first rows are damaged.
        """
        reader = reader.with_markers(self.missing_values)
        self._begin(list(dict.fromkeys([*reader.names, *keep])))
        return reader if reader.book.grows else self._for_this_file(reader)

    def progress(self) -> tuple[float, float | None]:
        """Return how much was read and the total, in the same unit; the total is None if it is unknown."""
        return self._progress()

    def follow(self, progress: Callable[[], tuple[float, float | None]]) -> None:
        """Take :meth:`progress` from elsewhere: other processes read the table."""
        self._progress = progress

    def _begin(self, names: Sequence[str]) -> None:
        """Read the first rows of these columns, unless that is done."""
        if self._first is not None:
            return
        self._rest, self._first, num_rows = self.source.batches(names), [], 0
        while num_rows < ROWS_TO_RECOGNISE and (raw := next(self._rest, None)) is not None:
            self._first.append(raw)
            num_rows += raw.columns.num_rows

    def _sample(
        self, name: str, markers: Markers, reading: Reading | None = None, *, shows_decimal: bool = False
    ) -> Sample:
        """Return what a column shows.

        Args:
            name: The column.
            markers: The markers of missing cells.
            reading: What it held in training, if that is known.
            shows_decimal: Whether its texts are needed, since other columns may follow its decimal mark.
        """
        may_be_plain = self.source.is_text and self.source.decimal != "," and not shows_decimal
        if reading is not None and not (isinstance(reading, NumberReading) and reading.decimal == "."):
            may_be_plain = False  # the texts are compared with training
        return sample_column(self.source.type_of(name), self._first_cells(name), markers, may_be_plain=may_be_plain)

    def _first_cells(self, name: str) -> list[pa.Array]:
        return [raw.columns.column(name) for raw in self._first or []]

    def _nested(self) -> Mapping[str, str]:
        found: Mapping[str, str] = getattr(self.source, "nested", {})
        return found

    def _for_this_file(self, reader: CellReader) -> CellReader:
        """Return a reader with the decimal mark of this file, after a comparison of the columns with the training's."""
        numbers = [each.reading for each in reader.inputs if isinstance(each.reading, NumberReading)]
        can_be_open = any(each.decimal == "," or each.thousands for each in numbers)
        samples = {
            each.name: self._sample(each.name, reader.markers, each.reading, shows_decimal=can_be_open)
            for each in reader.inputs
        }
        if self.source.is_text:
            by_name = {name: each.texts for name, each in samples.items()}
            reader = reader.with_decimals(by_name, self.source.certain_decimals)
            if not self.source.certain_decimals:
                _warn_open_mark(reader, samples, self.source.where)
        for each in reader.inputs:
            if texts := samples[each.name].texts:
                _compare(reader, each.name, texts, self.source.where)
        return reader


def _warn_open_mark(reader: CellReader, samples: Mapping[str, Sample], where: str) -> None:
    """Warn if no column of a file shows its decimal mark, and a cell such as 1,234 would have two values."""
    numbers = {each.name: each.reading for each in reader.inputs if isinstance(each.reading, NumberReading)}
    if any(samples[name].decimal or decimal_evidence(samples[name].texts) for name in numbers):
        return
    for name, reading in numbers.items():
        cell = next((text for text in samples[name].texts if _EITHER_MARK.search(text)), None)
        if cell is not None and reading.thousands:
            warn_caller(
                f"{where}: cells such as {cell[:_SHOWN_CELL]!r} in column {name!r} are read with the decimal mark "
                f"{reading.decimal!r} as in training, since the file shows none; --decimal names another"
            )
            return


def _compare(reader: CellReader, name: str, texts: Mapping[str, int], where: str) -> None:
    """Raise InvalidInput if no cell of a column of numbers or times can be read; warn if no category is known."""
    reading, cells = reader.reading(name), list(texts)
    if isinstance(reading, LeftOut):
        return
    if isinstance(reading, TextReading):
        known = set(reader.book.categories[name])
        num_cells = sum(texts.values())
        if num_cells >= _CELLS_TO_COMPARE and not known & {text_of(cell) for cell in cells}:
            warn_caller(
                f"{where}: none of the first {num_cells} values of column {name!r}, such as {cells[0][:40]!r}, was in "
                f"the training table, which had values such as {min(known)[:40]!r}",
            )
        return
    _, bad = reader.texts(name, cells)
    if bad and len(bad) == len(cells):
        hint = _QUOTE_HINT if "\n" in cells[0] else ""
        raise InvalidInput(f"{where}: {reader.drift_of_texts(name, cells[0], bad[0], hint)}", field=name)


def _from(raws: Iterator[RawBatch], fragment: int, row: int) -> Iterator[RawBatch]:
    """Yield what begins at this row of a file."""
    before = row
    for raw in raws:
        if raw.fragment > fragment:
            before = 0
        if raw.fragment < fragment or len(raw.faults) <= before:
            before -= len(raw.faults) if raw.fragment == fragment else 0
            continue
        yield RawBatch(raw.columns.slice(before), raw.faults[before:], raw.fragment) if before else raw
        before = 0


def parse(raw: RawBatch, reader: CellReader, keep: Sequence[str]) -> Batch:
    """Return rows as numbers, with the columns to keep."""
    rows, faults = read_rows(reader, raw.columns, raw.faults)
    return Batch(rows, faults, raw.columns.select(list(keep)), raw.fragment)
