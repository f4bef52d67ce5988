"""JSON lines: one JSON object per line. Each cell becomes the text of its value, so that no digit is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from anomaly_vae.arrow.buffers import from_strings
from anomaly_vae.arrow.faults import Fault
from anomaly_vae.columns.reading.records import Decimal
from anomaly_vae.errors import InvalidInput
from anomaly_vae.table.base import BATCH_ROWS
from anomaly_vae.table.raw import RawBatch
from anomaly_vae.table.sources.encoding import TextStream
from anomaly_vae.table.sources.streams import SAMPLE_BYTES
from anomaly_vae.table.sources.text import TextSource

__all__ = ["JsonLinesSource", "is_object"]

_BLOCK_BYTES = 2**20

# The longest line, bytes. Chosen, not measured: it bounds the memory.
_LINE_BYTES = 2**24

_DECODER = msgspec.json.Decoder(dict[str, msgspec.Raw])

# First bytes of values, and what they start.
_NESTED = {ord("{"): "objects", ord("["): "arrays"}
_QUOTE, _NULL = ord('"'), ord("n")
_NUMBER_STARTS = tuple(b"%c" % each for each in b"-0123456789")

_Row = dict[str, Any]


class JsonLinesSource(TextSource):
    """Objects of one level; their keys are the columns. See :class:`~anomaly_vae.table.raw.Source`.

    The columns are the keys in the first MiB, in the order in which they appear. Keys that appear only later are
    ignored. A key that an object does not have is a missing cell, as is null.

    Attributes:
        nested: Columns that hold objects or arrays in the first MiB, and which of both: "objects" or "arrays". Their
            cells are the text of these in JSON.
    """

    decimal: Decimal | None = "."

    def __init__(self, stream: TextStream, sample: int = SAMPLE_BYTES) -> None:
        super().__init__(stream)
        self.notes: tuple[str, ...] = ()
        self.nested: dict[str, str] = {}
        decimals: dict[str, Decimal] = {}
        names: dict[str, None] = {}
        rows = [row for row in map(_decode, self._first_lines(sample)) if isinstance(row, dict)]
        for row in rows:
            names |= dict.fromkeys(row)
            for name, value in row.items():
                if (kind := _NESTED.get(bytes(memoryview(value)[:1])[0])) is not None:
                    self.nested.setdefault(name, kind)
                if name not in decimals and _has_point(bytes(value)):
                    decimals[name] = "."
        if not names:
            found = "no keys in its objects" if rows else "no JSON objects"
            raise InvalidInput(
                f"{self.where}: holds {found}; expected one JSON object with the cells of a row per line"
            )
        self.names = tuple(names)
        self.certain_decimals: Mapping[str, Decimal] = decimals

    def batches(self, names: Sequence[str]) -> Iterator[RawBatch]:
        """See :class:`~anomaly_vae.table.raw.Source`."""
        lines: list[tuple[int, bytes]] = []
        read = list(dict.fromkeys(names))
        length = last = 0
        try:
            for number, line in enumerate(self._lines(), start=1):
                length += len(line) + 1
                if line.strip():
                    lines.append((number, line))
                if len(lines) == BATCH_ROWS or length - last > _LINE_BYTES:
                    yield self._batch(lines, read, names, length)
                    lines, last = [], length
        finally:
            self._stream.close()
        self._finished = True
        if lines:
            yield self._batch(lines, read, names, length)

    def _batch(self, lines: list[tuple[int, bytes]], read: list[str], names: Sequence[str], end: int) -> RawBatch:
        self._handed = end
        rows: list[_Row] = []
        faults: list[Fault | None] = []
        for number, line in lines:
            row = _decode(line)
            rows.append(row if isinstance(row, dict) else {})
            faults.append(None if isinstance(row, dict) else Fault("unreadable", f"line {number}: {row}"))
        numbers = [number for number, _ in lines]
        columns = [self._column(name, rows, numbers, faults) for name in read]
        columns = self._stream.check(columns, read, faults)
        columns = [columns[read.index(name)] for name in names]
        return RawBatch(pa.RecordBatch.from_arrays(columns, names=list(names)), faults)

    def _column(self, name: str, rows: list[_Row], numbers: list[int], faults: list[Fault | None]) -> pa.Array:
        cells = [row.get(name, b"null") for row in rows]
        ends = np.cumsum([len(cell) for cell in cells])
        starts = ends - [len(cell) for cell in cells]
        text = b"".join(cells)
        data = np.frombuffer(text, np.uint8)
        first = data[starts]
        if name not in self.nested:
            for i in np.flatnonzero((first == ord("{")) | (first == ord("["))):
                kind = "an object" if first[i] == ord("{") else "an array"
                message = f"line {numbers[i]}: column {name!r} holds {kind}, expected one value"
                faults[i] = faults[i] or Fault("unreadable", message)
        is_text = first == _QUOTE
        if b"\\" in text or (is_text & (ends - starts == 2)).any():  # escapes, or empty texts
            return from_strings([_text(bytes(cell)) for cell in cells])
        keep = np.ones(len(data), dtype=bool)
        keep[starts[is_text]] = keep[ends[is_text] - 1] = False
        valid = first != _NULL
        lengths = (ends - starts) - 2 * is_text
        for i in np.flatnonzero(~valid):
            keep[starts[i] : ends[i]] = False
            lengths[i] = 0
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        buffers = [np.packbits(valid, bitorder="little"), offsets, data[keep]]
        return pa.Array.from_buffers(pa.string(), len(cells), [pa.py_buffer(buffer) for buffer in buffers])

    def _first_lines(self, sample: int) -> list[bytes]:
        """Return the complete lines in the first bytes; at least one."""
        while True:
            head = self._stream.peek(sample)
            lines = head.split(b"\n")
            if len(head) < sample:
                return [line for line in lines if line.strip()]
            if len(lines) > 1:
                return [line for line in lines[:-1] if line.strip()]
            if sample >= _LINE_BYTES:
                raise self._too_long()
            sample *= 4

    def _lines(self) -> Iterator[bytes]:
        rest = b""
        while block := self._stream.read(_BLOCK_BYTES):
            *lines, rest = (rest + block).split(b"\n")
            yield from lines
            if len(rest) > _LINE_BYTES:
                raise self._too_long()
        if rest:
            yield rest

    def _too_long(self) -> InvalidInput:
        return InvalidInput(
            f"{self.where}: a line is longer than {_LINE_BYTES // 2**20} MiB; expected one JSON object per line"
        )


def is_object(line: bytes) -> bool:
    """Return whether a line is a JSON object."""
    return isinstance(_decode(line), dict)


def _has_point(cell: bytes) -> bool:
    """Return whether a cell is a number of JSON with decimals; a text may have any decimal mark."""
    return cell[:1] in _NUMBER_STARTS and b"." in cell


def _decode(line: bytes) -> _Row | str:
    """Return the cells of a line as JSON, or what is wrong with it."""
    try:
        return _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _decode_python(line) or f"is not a JSON object: {error}"


def _decode_python(line: bytes) -> _Row | None:
    """Read a line with the NaN and Infinity that Python and other writers add to JSON."""
    if b"NaN" not in line and b"Infinity" not in line:
        return None
    try:
        row = json.loads(line, parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError):
        return None
    return {name: msgspec.json.encode(value) for name, value in row.items()} if isinstance(row, dict) else None


def _text(cell: bytes) -> str | None:
    """Return the text of one cell; None for null and for the empty text."""
    if cell[0] == _NULL:
        return None
    return (msgspec.json.decode(cell, type=str) if cell[0] == _QUOTE else cell.decode()) or None
