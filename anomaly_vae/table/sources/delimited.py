"""CSV and its relatives, as texts. Every cell stays on its own, so a bad cell affects its row only."""

from __future__ import annotations

import atexit
import csv
import io
import re
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.csv

from anomaly_vae.arrow.buffers import from_strings
from anomaly_vae.arrow.faults import Fault
from anomaly_vae.columns.reading.options import ReadOptions
from anomaly_vae.columns.reading.records import Decimal
from anomaly_vae.errors import InvalidInput, RemoteError
from anomaly_vae.table.base import BATCH_ROWS, first_line
from anomaly_vae.table.raw import RawBatch
from anomaly_vae.table.sources.dialect import decimal_mark, find_dialect, read_rows
from anomaly_vae.table.sources.encoding import TextStream, encoding_name
from anomaly_vae.table.sources.ragged import QUOTE_HINT, RaggedRows
from anomaly_vae.table.sources.streams import SAMPLE_BYTES
from anomaly_vae.table.sources.text import TextSource

__all__ = ["DelimitedSource"]

# Bytes that pyarrow reads at a time; also the longest row. Chosen, not measured: it bounds the memory.
_BLOCK_BYTES = 2**20

# Longest wait for pyarrow's thread, which at most finishes one read. Chosen: a pipe may never end that read.
_RELEASE_SECONDS = 1.0

# Wait for a read that finds the end of a file that nobody has closed. Chosen: it takes milliseconds.
_LAST_READ_SECONDS = 0.5

# The line that Excel understands before the header.
_SEPARATOR_LINE = re.compile(r'"?sep=([^\w\s"]|\t)"?(?:\r\n?|\n)', re.IGNORECASE)

_SEPARATOR_NAMES = {"\t": "tabs", " ": "spaces"}


class DelimitedSource(TextSource):
    """A table with a header line and cells between separators. See :class:`~anomaly_vae.table.raw.Source`."""

    def __init__(self, stream: TextStream, options: ReadOptions, sample: int = SAMPLE_BYTES) -> None:
        _check(options)
        super().__init__(stream)
        head = stream.peek(sample)
        text = head.decode("utf-8", "ignore")  # the last character may be cut
        is_whole = len(head) < sample
        hint = _SEPARATOR_LINE.match(text)
        start = hint.end() if hint else 0
        separator = options.separator or (hint and hint.group(1))
        self._dialect = find_dialect(text[start:], is_whole=is_whole, separator=separator)
        header, length = self._read_header(text[start:])
        length += start
        if stream.has_mark("".join(header)):
            raise InvalidInput(
                f"{self.where}: the header holds bytes that are not {encoding_name(stream.encoding)}; "
                "name the encoding of the file, such as --encoding latin-1"
            )
        self._header = [name.strip() for name in header]
        if not any(self._header):
            found = "has a header line without names" if len(self._header) > 1 else "is empty"
            raise InvalidInput(f"{self.where}: {found}; expected a header line with the names of the columns, and rows")
        rows = list(read_rows(text[length:], self._dialect))
        if not is_whole and len(rows) > 1:
            rows.pop()
        self.names = tuple(self._header[:-1] if _ends_empty(self._header, rows) else self._header)
        self.decimal = options.decimal or decimal_mark(rows)
        self.certain_decimals: Mapping[str, Decimal] = (
            dict.fromkeys(self.names, options.decimal) if options.decimal else {}
        )
        self.notes = self._notes(options)
        self._handed = len(stream.read(len(text[:length].encode())))

    def batches(self, names: Sequence[str]) -> Iterator[RawBatch]:
        """See :class:`~anomaly_vae.table.raw.Source`."""
        read = list(dict.fromkeys(names)) or [self.names[0]]
        places = [self._header.index(name) for name in read]
        ragged = RaggedRows(self._dialect)
        try:
            for batch, handed in self._blocks(places, ragged):
                columns, faults = ragged.insert(batch.columns, places)
                yield from self._parts(columns, read, names, faults, handed)
        finally:
            self._stream.close()
        columns, faults = ragged.insert([from_strings([])] * len(places), places)
        yield from self._parts(columns, read, names, faults, self._handed)
        self._finished = True

    def _parts(
        self, columns: list[pa.Array], read: list[str], names: Sequence[str], faults: list[Fault | None], end: float
    ) -> Iterator[RawBatch]:
        """Yield rows up to a position; with many ragged rows they are more than one batch."""
        columns = self._stream.check(columns, read, faults)
        batch = pa.RecordBatch.from_arrays([columns[read.index(name)] for name in names], names=list(names))
        start = self._handed
        for first in range(0, len(faults), BATCH_ROWS):
            part = faults[first : first + BATCH_ROWS]
            self._handed = start + (end - start) * (first + len(part)) / len(faults)
            yield RawBatch(batch.slice(first, BATCH_ROWS), part)

    def _blocks(self, places: list[int], ragged: RaggedRows) -> Iterator[tuple[pa.RecordBatch, float]]:
        """Read the columns at these places; yield some rows, and the bytes from the start to their end."""
        # Columns are named by their place: names may be empty, or appear twice.
        labels = [str(place) for place in range(len(self._header))]
        parse = pyarrow.csv.ParseOptions(
            delimiter=self._dialect.separator,
            quote_char=self._dialect.quote,
            newlines_in_values=True,
            ignore_empty_lines=len(self._header) > 1,
            invalid_row_handler=ragged.note,
        )
        read = pyarrow.csv.ReadOptions(column_names=labels, use_threads=False, block_size=_BLOCK_BYTES)
        convert = pyarrow.csv.ConvertOptions(
            include_columns=[labels[place] for place in places],
            column_types=dict.fromkeys([labels[place] for place in places], pa.string()),
            strings_can_be_null=True,
            null_values=[""],
        )
        start = self._handed
        released = threading.Event()
        try:
            with pyarrow.csv.open_csv(_Blocks(self._stream, released), read, parse, convert) as reader:
                for number, batch in enumerate(reader):
                    for first in range(0, batch.num_rows, BATCH_ROWS):
                        part = batch.slice(first, BATCH_ROWS)
                        share = number + (first + part.num_rows) / batch.num_rows
                        yield part, start + share * _BLOCK_BYTES
        except pa.ArrowInvalid as error:
            if "Empty CSV file" not in str(error):
                raise InvalidInput(f"{self.where}: {_explain(error)}") from error
        except (InvalidInput, RemoteError):  # from the stream
            released.set()  # the read is over, and the error holds the file
            raise
        except OSError as error:
            released.set()
            raise InvalidInput(f"{self.where}: cannot be read: {error.strerror or error}") from error
        finally:
            reader = None  # pyarrow's reader holds the file
            released.wait(_RELEASE_SECONDS)

    def _read_header(self, text: str) -> tuple[list[str], int]:
        """Return the first row that is not blank, and the length of the text to its end."""
        lines, length = io.StringIO(text, newline=""), 0

        def counted() -> Iterator[str]:
            nonlocal length
            for line in lines:
                length += len(line)
                yield line

        rows = csv.reader(counted(), delimiter=self._dialect.separator, quotechar=self._dialect.quote)
        try:
            header = next((row for row in rows if row), [])
        except csv.Error as error:
            raise InvalidInput(f"{self.where}: the header is not a line of CSV: {error}{QUOTE_HINT}") from error
        return header, length

    def _notes(self, options: ReadOptions) -> tuple[str, ...]:
        parts = []
        separator, quote = self._dialect
        name = self.where.lower().removesuffix(".gz").removesuffix(".zst")
        expected = "\t" if name.endswith((".tsv", ".tab")) else ","
        if options.separator is None and separator != expected and len(self._header) > 1:
            parts.append(f"cells separated by {_SEPARATOR_NAMES.get(separator, repr(separator))}")
        if quote != '"':
            parts.append(f"cells quoted by {quote}")
        if options.decimal is None and self.decimal == ",":
            parts.append("decimal commas")
        if options.encoding is None and self.encoding != "utf-8":
            parts.append(f"encoding {encoding_name(self._stream.encoding)}")
        return (f"{self.where}: {', '.join(parts)}",) if parts else ()


class _Blocks(io.RawIOBase):
    """The text of a stream as a file for pyarrow.

    pyarrow reads it from a thread of its own, also after its reader is closed, and a thread that needs the interpreter
    while the process ends aborts the process. ``released`` is set as soon as no thread has this file any more.
    """

    def __init__(self, stream: TextStream, released: threading.Event) -> None:
        self._stream, self._released = stream, released
        self._reading, self._is_stopped = threading.Lock(), False
        weakref.finalize(self, released.set).atexit = False
        _OPEN.add(self)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        with self._reading:
            return b"" if self._is_stopped else self._stream.read(size)

    def stop(self) -> None:
        """Wait for the end of a read; the next one finds the end of the file, so that there is no other."""
        self._is_stopped = True
        if self._reading.acquire(timeout=_RELEASE_SECONDS):
            self._reading.release()
            self._released.wait(_LAST_READ_SECONDS)


# Files that nobody has closed when the process ends.
_OPEN: weakref.WeakSet[_Blocks] = weakref.WeakSet()


@atexit.register
def _stop_reading() -> None:
    for blocks in list(_OPEN):
        blocks.stop()


def _check(options: ReadOptions) -> None:
    """Raise InvalidInput for options that are not possible."""
    mark = options.separator
    if mark is not None and (len(mark) != 1 or not mark.isascii() or mark in "\r\n\"'"):
        raise InvalidInput(f"--separator {mark!r}: expected one ASCII character such as ; or a tab")
    if options.decimal not in (None, ".", ","):
        raise InvalidInput(f"--decimal {options.decimal!r}: expected . or ,")
    if mark is not None and mark == options.decimal:
        raise InvalidInput(f"--sep and --decimal are both {mark!r}; numbers and cells could not be told apart")


def _ends_empty(header: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Return whether the header and all rows end with a separator, so that their last cell is none."""
    last = len(header) - 1
    return last > 0 and not header[last] and not any(any(row[last:]) for row in rows)


def _explain(error: pa.ArrowInvalid) -> str:
    """Return the message for an error of pyarrow's CSV reader."""
    if "straddling" in str(error):
        return f"a row is longer than {_BLOCK_BYTES // 2**20} MiB{QUOTE_HINT}"
    return f"not a CSV table: {first_line(error)}"
