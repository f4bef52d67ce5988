"""CSV tables, cell by cell."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv

from anomaly_vae.densities import FloatArray
from anomaly_vae.errors import InvalidInput
from anomaly_vae.table.arrays import from_numpy, from_strings, to_float64
from anomaly_vae.table.base import BATCH_ROWS, Batch, Fault, faults_of, first_line, wrong_type

__all__ = ["CsvTable"]

_CSV_BLOCK = 4 * 2**20
_TYPED_AFTER = 10_000
_MISSING = ["", "NA", "N/A", "NaN", "nan", "NULL", "null", "None"]


class CsvTable:
    """CSV with a header line; every cell is read on its own."""

    def __init__(self, file: BinaryIO, where: str, size: int | None) -> None:
        self._file, self._where, self._size = file, where, size
        self._ragged: list[tuple[int, Fault]] = []
        lines = (line.decode("utf-8-sig") for line in iter(file.readline, b""))
        try:
            header = next(csv.reader(lines), [])
        except (UnicodeDecodeError, csv.Error) as error:
            raise InvalidInput(f"{where}: the header is no UTF-8 CSV: {error}") from error
        self.names = tuple(name.strip() for name in header)
        if not self.names:
            raise InvalidInput(f"{where}: is empty; expected a header line and rows")
        if len(self.names) == 1 and any(mark in self.names[0] for mark in ";\t|"):
            raise InvalidInput(f"{where}: the header {self.names[0][:60]!r} has no commas; separate columns by commas")

    def schema_of(self, keep: Sequence[str]) -> pa.Schema:
        """See :class:`Table`."""
        return pa.schema([(name, pa.string()) for name in keep])

    def batches(self, columns: Sequence[str], keep: Sequence[str] = ()) -> Iterator[Batch]:
        """See :class:`Table`."""
        seen, cells = 0, _CellCounts(columns, self._where)
        waiting: list[Batch] = []
        for text in self._text_batches([*columns, *(name for name in keep if name not in columns)]):
            batch = self._parse(text, columns, keep, cells)
            if seen >= _TYPED_AFTER:
                yield batch
                continue
            waiting.append(batch)
            seen += len(batch.rows)
            if seen >= _TYPED_AFTER:
                cells.check()
                yield from waiting
                waiting = []
        if waiting:
            cells.check()
            yield from waiting

    def progress(self) -> tuple[float, float | None]:
        """Bytes read."""
        if self._size is None:
            return 0, None
        return (self._size if self._file.closed else self._file.tell()), self._size

    def _text_batches(self, names: Sequence[str]) -> Iterator[tuple[pa.RecordBatch, list[Fault | None]]]:
        """Batches of strings, with ragged rows put back in their place as rows of nulls."""
        parse = pyarrow.csv.ParseOptions(
            newlines_in_values=True, ignore_empty_lines=len(self.names) > 1, invalid_row_handler=self._note_ragged
        )
        read = pyarrow.csv.ReadOptions(column_names=list(self.names), use_threads=False, block_size=_CSV_BLOCK)
        convert = pyarrow.csv.ConvertOptions(
            include_columns=list(names),
            column_types=dict.fromkeys(names, pa.string()),
            strings_can_be_null=True,
            null_values=_MISSING,
        )
        record = 0
        try:
            with pyarrow.csv.open_csv(self._file, read, parse, convert) as reader:
                for batch in reader:
                    for start in range(0, batch.num_rows, BATCH_ROWS):
                        part, faults = self._with_ragged(batch.slice(start, BATCH_ROWS), record)
                        record += part.num_rows
                        yield part, faults
                empty = pa.RecordBatch.from_arrays([from_strings([]) for _ in names], names=list(names))
        except pa.ArrowInvalid as error:
            if "Empty CSV file" in str(error):
                return
            raise InvalidInput(f"{self._where}: not a CSV table: {first_line(error)}") from error
        finally:
            if self._size is not None:
                self._file.close()
        part, faults = self._with_ragged(empty, record)
        if part.num_rows:
            yield part, faults

    def _note_ragged(self, row: Any) -> str:
        text = f"the row has {row.actual_columns} cells, the header {row.expected_columns}"
        self._ragged.append((row.number, Fault("cells", text)))
        return "skip"

    def _with_ragged(self, batch: pa.RecordBatch, record: int) -> tuple[pa.RecordBatch, list[Fault | None]]:
        """Insert the ragged rows that belong among these; ``record`` rows came before."""
        source: list[int | None] = []
        faults: list[Fault | None] = []
        for i in range(batch.num_rows + 1):
            while self._ragged and self._ragged[0][0] == record + len(source) + 1:
                source.append(None)
                faults.append(self._ragged.pop(0)[1])
            if i < batch.num_rows:
                source.append(i)
                faults.append(None)
        if len(source) == batch.num_rows:
            return batch, faults
        return batch.take(_positions(source)), faults

    def _parse(
        self,
        text: tuple[pa.RecordBatch, list[Fault | None]],
        columns: Sequence[str],
        keep: Sequence[str],
        cells: _CellCounts,
    ) -> Batch:
        batch, ragged = text
        rows = np.empty((batch.num_rows, len(columns)))
        unreadable: dict[int, Fault] = {}
        for d, name in enumerate(columns):
            column = batch.column(name)
            rows[:, d], odd = _numbers(column)
            cells.add(d, batch.num_rows - column.null_count - len(odd), next(iter(odd.values()), None))
            for i, cell in odd.items():
                unreadable.setdefault(i, Fault("unreadable", f"column {name!r}: {cell[:40]!r} is no number"))
        faults = [
            whole or unreadable.get(i) or other
            for i, (whole, other) in enumerate(zip(ragged, faults_of(rows, columns), strict=True))
        ]
        return Batch(rows, faults, batch.select(list(keep)))


class _CellCounts:
    """Whether each column had any cell that is a number."""

    def __init__(self, names: Sequence[str], where: str) -> None:
        self._names, self._where = names, where
        self._numbers = [0] * len(names)
        self._odd: list[str | None] = [None] * len(names)

    def add(self, d: int, numbers: int, odd: str | None) -> None:
        self._numbers[d] += numbers
        self._odd[d] = self._odd[d] or odd

    def check(self) -> None:
        """Raise InvalidInput for a column whose cells so far are all text."""
        for name, numbers, odd in zip(self._names, self._numbers, self._odd, strict=True):
            if numbers == 0 and odd is not None:
                raise wrong_type(self._where, name, f"text such as {odd[:40]!r}")


def _positions(source: list[int | None]) -> pa.Array:
    """Indices to take, null for a row of nulls."""
    valid = np.array([i is not None for i in source], dtype=bool)
    return from_numpy(np.array([i or 0 for i in source], dtype=np.int64), valid)


def _numbers(cells: pa.Array) -> tuple[FloatArray, dict[int, str]]:
    """Cells of text as float64, NaN for nulls, and the cells that are no numbers by position."""
    try:
        return to_float64(cells), {}
    except pa.ArrowInvalid:
        values, odd = np.full(len(cells), np.nan), {}
        for i, cell in enumerate(cells.to_pylist()):
            if cell is not None:
                try:
                    values[i] = float(cell.replace("_", "?"))
                except ValueError:
                    odd[i] = cell
        return values, odd
