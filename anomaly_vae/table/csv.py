"""CSV tables, cell by cell."""

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
from anomaly_vae.table.arrays import from_numpy, from_strings
from anomaly_vae.table.base import BATCH_ROWS, Batch, Fault, faults_of, first_line
from anomaly_vae.table.cells import CellCounts, decode_column, parse_column, text_cells
from anomaly_vae.table.codes import CodeBook

__all__ = ["CsvTable"]

_CSV_BLOCK = 2**20
_TYPED_AFTER = 10_000


class _Ragged(NamedTuple):
    """A row with more or fewer cells than the header."""

    number: int
    fault: Fault
    cells: list[str]


class _Text(NamedTuple):
    """Some rows as bytes, ragged ones in their place, with a fault for each of those."""

    batch: pa.RecordBatch
    faults: list[Fault | None]


class CsvTable:
    """CSV with a header line; every cell is read on its own."""

    def __init__(self, file: BinaryIO, where: str, size: int | None) -> None:
        self._file, self._where, self._size = file, where, size
        self._ragged: deque[_Ragged] = deque()
        lines = (line.decode("utf-8-sig") for line in iter(file.readline, b""))
        try:
            header = next((row for row in csv.reader(lines) if row), [])
        except (UnicodeDecodeError, csv.Error) as error:
            raise InvalidInput(f"{where}: the header is no line of UTF-8 CSV: {error}") from error
        self.names = tuple(name.strip() for name in header)
        if not self.names:
            raise InvalidInput(f"{where}: is empty; expected a header line and rows")
        if len(self.names) == 1 and any(mark in self.names[0] for mark in ";\t|"):
            raise InvalidInput(f"{where}: the header {self.names[0][:60]!r} has no commas; separate columns by commas")

    def schema_of(self, keep: Sequence[str]) -> pa.Schema:
        """See :class:`Table`."""
        return pa.schema([(name, pa.string()) for name in keep])

    def batches(
        self, columns: Sequence[str], keep: Sequence[str] = (), book: CodeBook | None = None
    ) -> Iterator[Batch]:
        """See :class:`Table`."""
        book = book or CodeBook()
        texts = self._text([*columns, *(name for name in keep if name not in columns)])
        first: list[_Text] = []
        while sum(text.batch.num_rows for text in first) < _TYPED_AFTER and (text := next(texts, None)) is not None:
            first.append(text)
        self._judge(first, columns, book)
        for text in itertools.chain(first, texts):
            yield _parse(text, columns, keep, book)

    def _judge(self, first: list[_Text], columns: Sequence[str], book: CodeBook) -> None:
        """Tell columns of text from those of numbers by their first cells."""
        counts = CellCounts(columns, self._where)
        for text in first:
            for d, name in enumerate(columns):
                if name not in book:
                    values, odd = parse_column(text.batch.column(name))
                    counts.add(d, int((~np.isnan(values)).sum()), odd.values())
        if book.grows:
            for name in counts.mostly_text():
                book.add(name)
        else:
            counts.check()

    def progress(self) -> tuple[float, float | None]:
        """Bytes read."""
        if self._size is None:
            return 0, None
        return (self._size if self._file.closed else self._file.tell()), self._size

    def _text(self, names: Sequence[str]) -> Iterator[_Text]:
        parse = pyarrow.csv.ParseOptions(
            newlines_in_values=True, ignore_empty_lines=len(self.names) > 1, invalid_row_handler=self._note_ragged
        )
        read = pyarrow.csv.ReadOptions(column_names=list(self.names), use_threads=False, block_size=_CSV_BLOCK)
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
        hint = "; is a quote left open?" if "\n" in row.text else ""
        text = f"the row has {row.actual_columns} cells, the header {row.expected_columns}{hint}"
        cells = next(csv.reader([row.text]), []) if not hint else []
        self._ragged.append(_Ragged(row.number, Fault("ragged", text), cells))
        return "skip"

    def _with_ragged(self, batch: pa.RecordBatch, record: int) -> _Text:
        """Insert the ragged rows that belong among these; ``record`` rows came before."""
        if not self._ragged or self._ragged[0].number > record + batch.num_rows + 1:
            return _Text(batch, [None] * batch.num_rows)
        source: list[int | None] = []
        ragged: dict[int, _Ragged] = {}
        for i in range(batch.num_rows + 1):
            while self._ragged and self._ragged[0].number == record + len(source) + 1:
                ragged[len(source)] = self._ragged.popleft()
                source.append(None)
            if i < batch.num_rows:
                source.append(i)
        names = batch.schema.names
        columns = [self._filled(name, column, ragged) for name, column in zip(names, _take(batch, source), strict=True)]
        faults = [ragged[i].fault if i in ragged else None for i in range(len(source))]
        return _Text(pa.RecordBatch.from_arrays(columns, names=names), faults)

    def _filled(self, name: str, column: pa.Array, ragged: dict[int, _Ragged]) -> pa.Array:
        """The column with the cells that ragged rows do have, so that a kept column can tell which row it was."""
        d = self.names.index(name)
        cells = column.to_pylist()
        for i, row in ragged.items():
            cells[i] = row.cells[d].encode() if d < len(row.cells) else None
        return from_strings(cells).cast(pa.binary())


def _parse(text: _Text, columns: Sequence[str], keep: Sequence[str], book: CodeBook) -> Batch:
    rows = np.empty((text.batch.num_rows, len(columns)))
    unreadable: dict[int, Fault] = {}
    for d, name in enumerate(columns):
        if name in book:
            rows[:, d] = book.encode(name, text_cells(text.batch.column(name)))
            continue
        rows[:, d], odd = parse_column(text.batch.column(name))
        for i, cell in odd.items():
            hint = "; is a quote left open?" if "\n" in cell else ""
            unreadable.setdefault(i, Fault("unreadable", f"column {name!r}: {cell[:40]!r} is no number{hint}"))
    faults = [
        ragged or unreadable.get(i) or other
        for i, (ragged, other) in enumerate(zip(text.faults, faults_of(rows, columns), strict=True))
    ]
    kept = pa.RecordBatch.from_arrays([decode_column(text.batch.column(name)) for name in keep], names=list(keep))
    return Batch(rows, faults, kept)


def _take(batch: pa.RecordBatch, source: list[int | None]) -> list[pa.Array]:
    """The rows of a batch by position, a row of nulls for None."""
    valid = np.array([i is not None for i in source], dtype=bool)
    positions = from_numpy(np.array([i or 0 for i in source], dtype=np.int64), valid)
    return [column.take(positions) for column in batch.columns]


def _explain(error: pa.ArrowInvalid) -> str:
    if "straddling" in str(error):
        return f"a row is longer than {_CSV_BLOCK // 2**20} MiB; is a quote left open?"
    return f"not a CSV table: {first_line(error)}"
