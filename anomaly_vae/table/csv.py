"""CSV tables. Every cell is converted on its own, so a bad cell affects its row only."""

from __future__ import annotations

import csv
import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv

from anomaly_vae.errors import InvalidInput
from anomaly_vae.table.arrow import from_numpy, from_strings
from anomaly_vae.table.base import BATCH_ROWS, Batch, Fault, faults_of, first_line
from anomaly_vae.table.cells import CellCounts, decode_column, parse_column, text_cells
from anomaly_vae.table.codes import CodeBook

__all__ = ["CsvTable"]

# Bytes that pyarrow reads at a time; also the longest row. Chosen, not measured: it bounds the memory.
_BLOCK_BYTES = 2**20

# Rows that decide whether a column is numeric, as documented. More rows decide more reliably, but are held in memory.
_ROWS_TO_INFER_TYPES = 10_000

# Characters of a cell, and of a header, in messages.
_SHOWN_CELL, _SHOWN_HEADER = 40, 60

_QUOTE_HINT = "; is a quote left open?"


class _Ragged(NamedTuple):
    """A row with more or fewer cells than the header.

    Attributes:
        number: Position in the file, from 1, without the header.
        fault: The fault to report.
        cells: The cells it has.
    """

    number: int
    fault: Fault
    cells: list[str]


class _TextBatch(NamedTuple):
    """Consecutive rows as bytes, with ragged rows at their positions, and one fault (or None) per row."""

    batch: pa.RecordBatch
    faults: list[Fault | None]


class CsvTable:
    """A CSV table with a header line."""

    def __init__(self, file: BinaryIO, where: str, size: int | None) -> None:
        self._file, self._where, self._size = file, where, size
        self._ragged: deque[_Ragged] = deque()
        lines = (line.decode("utf-8-sig") for line in iter(file.readline, b""))
        try:
            header = next((row for row in csv.reader(lines) if row), [])
        except (UnicodeDecodeError, csv.Error) as error:
            raise InvalidInput(f"{where}: the header is not a line of UTF-8 CSV: {error}") from error
        self.names = tuple(name.strip() for name in header)
        if not self.names:
            raise InvalidInput(f"{where}: is empty; expected a header line and rows")
        if len(self.names) == 1 and any(mark in self.names[0] for mark in ";\t|"):
            raise InvalidInput(
                f"{where}: the header {self.names[0][:_SHOWN_HEADER]!r} has no commas; separate columns by commas"
            )

    def schema_of(self, keep: Sequence[str]) -> pa.Schema:
        """See :class:`~.base.Table`."""
        return pa.schema([(name, pa.string()) for name in keep])

    def batches(
        self, columns: Sequence[str], keep: Sequence[str] = (), book: CodeBook | None = None
    ) -> Iterator[Batch]:
        """See :class:`~.base.Table`."""
        book = book or CodeBook()
        texts = self._text_batches([*columns, *(name for name in keep if name not in columns)])
        first: list[_TextBatch] = []
        num_rows = 0
        while num_rows < _ROWS_TO_INFER_TYPES and (text := next(texts, None)) is not None:
            first.append(text)
            num_rows += text.batch.num_rows
        self._infer_types(first, columns, book)
        for text in itertools.chain(first, texts):
            yield _parse(text, columns, keep, book)

    def _infer_types(self, first: list[_TextBatch], columns: Sequence[str], book: CodeBook) -> None:
        """Add columns with mostly text to a growing book; otherwise raise InvalidInput for a column of text."""
        counts = CellCounts(columns, self._where)
        for text in first:
            for d, name in enumerate(columns):
                if name not in book:
                    values, others = parse_column(text.batch.column(name))
                    counts.add(d, int((~np.isnan(values)).sum()), others.values())
        if book.grows:
            for name in counts.mostly_text():
                book.add(name)
        else:
            counts.check()

    def progress(self) -> tuple[float, float | None]:
        """Return the bytes read and the size of the file."""
        if self._size is None:
            return 0, None
        return (self._size if self._file.closed else self._file.tell()), self._size

    def _text_batches(self, names: Sequence[str]) -> Iterator[_TextBatch]:
        parse = pyarrow.csv.ParseOptions(
            newlines_in_values=True, ignore_empty_lines=len(self.names) > 1, invalid_row_handler=self._note_ragged
        )
        read = pyarrow.csv.ReadOptions(column_names=list(self.names), use_threads=False, block_size=_BLOCK_BYTES)
        convert = pyarrow.csv.ConvertOptions(
            include_columns=list(names),
            column_types=dict.fromkeys(names, pa.binary()),
            strings_can_be_null=True,
            null_values=[""],
        )
        record = 0
        try:
            with pyarrow.csv.open_csv(self._file, read, parse, convert) as reader:
                for batch in reader:
                    for start in range(0, batch.num_rows, BATCH_ROWS):
                        text = self._with_ragged(batch.slice(start, BATCH_ROWS), record)
                        record += text.batch.num_rows
                        yield text
        except pa.ArrowInvalid as error:
            if "Empty CSV file" not in str(error):
                raise InvalidInput(f"{self._where}: {_explain(error)}") from error
        except OSError as error:
            raise InvalidInput(f"{self._where}: cannot be read: {error.strerror or error}") from error
        finally:
            if self._size is not None:
                self._file.close()
        empty = pa.RecordBatch.from_arrays([from_strings([]).cast(pa.binary())] * len(names), names=list(names))
        text = self._with_ragged(empty, record)
        if text.batch.num_rows:
            yield text

    def _note_ragged(self, row: Any) -> str:
        """Remember a ragged row; pyarrow calls this and leaves the row out."""
        hint = _QUOTE_HINT if "\n" in row.text else ""
        text = f"the row has {row.actual_columns} cells, the header {row.expected_columns}{hint}"
        cells = next(csv.reader([row.text]), []) if not hint else []
        self._ragged.append(_Ragged(row.number, Fault("ragged", text), cells))
        return "skip"

    def _with_ragged(self, batch: pa.RecordBatch, record: int) -> _TextBatch:
        """Insert the ragged rows at their positions in the batch; ``record`` is the number of rows before it."""
        if not self._ragged or self._ragged[0].number > record + batch.num_rows + 1:
            return _TextBatch(batch, [None] * batch.num_rows)
        source: list[int | None] = []
        ragged: dict[int, _Ragged] = {}
        for i in range(batch.num_rows + 1):
            while self._ragged and self._ragged[0].number == record + len(source) + 1:
                ragged[len(source)] = self._ragged.popleft()
                source.append(None)
            if i < batch.num_rows:
                source.append(i)
        names = batch.schema.names
        columns = [
            self._with_cells(name, column, ragged) for name, column in zip(names, _take(batch, source), strict=True)
        ]
        faults = [ragged[i].fault if i in ragged else None for i in range(len(source))]
        return _TextBatch(pa.RecordBatch.from_arrays(columns, names=names), faults)

    def _with_cells(self, name: str, column: pa.Array, ragged: dict[int, _Ragged]) -> pa.Array:
        """Return the column with the cells of ragged rows filled in, so that kept columns still identify these rows."""
        d = self.names.index(name)
        cells = column.to_pylist()
        for i, row in ragged.items():
            cells[i] = row.cells[d].encode() if d < len(row.cells) else None
        return from_strings(cells).cast(pa.binary())


def _parse(text: _TextBatch, columns: Sequence[str], keep: Sequence[str], book: CodeBook) -> Batch:
    """Convert cells to numbers and codes, and collect the faults: a ragged row first, then a cell, then infinity."""
    rows = np.empty((text.batch.num_rows, len(columns)))
    unreadable: dict[int, Fault] = {}
    for d, name in enumerate(columns):
        if name in book:
            rows[:, d] = book.encode(name, text_cells(text.batch.column(name)))
            continue
        rows[:, d], others = parse_column(text.batch.column(name))
        for i, cell in others.items():
            hint = _QUOTE_HINT if "\n" in cell else ""
            message = f"column {name!r}: {cell[:_SHOWN_CELL]!r} is not a number{hint}"
            unreadable.setdefault(i, Fault("unreadable", message))
    faults = [
        ragged or unreadable.get(i) or other
        for i, (ragged, other) in enumerate(zip(text.faults, faults_of(rows, columns), strict=True))
    ]
    kept = pa.RecordBatch.from_arrays([decode_column(text.batch.column(name)) for name in keep], names=list(keep))
    return Batch(rows, faults, kept)


def _take(batch: pa.RecordBatch, source: list[int | None]) -> list[pa.Array]:
    """Return the rows of a batch at these positions, and a row of nulls for None."""
    valid = np.array([i is not None for i in source], dtype=bool)
    positions = from_numpy(np.array([i or 0 for i in source], dtype=np.int64), valid)
    return [column.take(positions) for column in batch.columns]


def _explain(error: pa.ArrowInvalid) -> str:
    """Return the message for an error of pyarrow's CSV reader."""
    if "straddling" in str(error):
        return f"a row is longer than {_BLOCK_BYTES // 2**20} MiB{_QUOTE_HINT}"
    return f"not a CSV table: {first_line(error)}"
