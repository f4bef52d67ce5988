"""Arrow IPC files and streams; Feather of version 2 is such a file."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc

from anomaly_vae.errors import InvalidInput
from anomaly_vae.table.base import BATCH_ROWS, first_line
from anomaly_vae.table.raw import RawBatch
from anomaly_vae.table.sources.typed import TypedSource, pick, plain_type

__all__ = ["IpcSource"]

# Bytes of a file that stay in memory after they were read. Chosen, not measured: small beside a process, and large
# beside the cost of a call.
_PAGES_TO_KEEP = 16 * 2**20


class IpcSource(TypedSource):
    """An Arrow file or stream, mapped to memory. See :class:`~anomaly_vae.table.raw.Source`.

    A compressed record batch is decompressed as a whole, but only its requested columns if they are few.
    """

    def __init__(self, path: Path, where: str, *, is_stream: bool) -> None:
        self.where, self.notes, self._is_stream = where, tuple[str, ...](), is_stream
        try:
            with path.open("rb") as file:
                self._memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._map = pa.BufferReader(pa.py_buffer(self._memory))
            self._schema: pa.Schema = self._open().schema
            self.names: tuple[str, ...] = tuple(self._schema.names)
        except (OSError, ValueError, pa.ArrowException, UnicodeDecodeError) as error:
            raise InvalidInput(f"{where}: damaged, or not an Arrow file: {first_line(error)}") from error
        if not self.names:
            raise InvalidInput(f"{where}: has no columns")
        self._done, self._released, self._total = 0.0, 0.0, float(self._map.size())

    def type_of(self, name: str) -> pa.DataType:
        """See :class:`~anomaly_vae.table.raw.Source`."""
        return plain_type(self._schema.field(self.names.index(name)).type)

    def batches(self, names: Sequence[str]) -> Iterator[RawBatch]:
        """See :class:`~anomaly_vae.table.raw.Source`."""
        rows = 0
        try:
            for batch, start, end in self._record_batches(names):
                batch.validate()
                for first in range(0, batch.num_rows, BATCH_ROWS):
                    part = batch.slice(first, BATCH_ROWS)
                    part.validate(full=True)  # a damaged file could point outside of its buffers
                    rows += part.num_rows
                    self._done = start + (end - start) * (first + part.num_rows) / batch.num_rows
                    yield RawBatch(pick(part, names), [None] * part.num_rows)
                    self._release()
        except (OSError, pa.ArrowException) as error:
            raise InvalidInput(f"{self.where}: damaged after {rows} rows: {first_line(error)}") from error
        finally:
            self._map.close()
        self._done = self._total

    def close(self) -> None:
        """Close the file; reading it to its end does so too."""
        self._map.close()

    def progress(self) -> tuple[float, float | None]:
        """Return the bytes handed out, as far as they are known, and the size of the file."""
        return self._done, self._total

    def _release(self) -> None:
        """Let go of the pages of the file that were read: they would count as memory of this process."""
        if self._done - self._released > _PAGES_TO_KEEP and hasattr(mmap, "MADV_DONTNEED"):
            self._memory.madvise(mmap.MADV_DONTNEED)
            self._released = self._done

    def _open(self, columns: Sequence[int] | None = None) -> pa.RecordBatchReader | pa.ipc.RecordBatchFileReader:
        options = pa.ipc.IpcReadOptions(use_threads=False, included_fields=columns)
        self._map.seek(0)
        return (pa.ipc.open_stream if self._is_stream else pa.ipc.open_file)(self._map, options=options)

    def _record_batches(self, names: Sequence[str]) -> Iterator[tuple[pa.RecordBatch, float, float]]:
        """Read the columns; yield record batches and the bytes before and after each."""
        wanted = sorted({self.names.index(name) for name in names or self.names[:1]})
        # A choice of columns makes Arrow copy them: that pays only if it spares the decompression of many others.
        reader = self._open(wanted if 2 * len(wanted) < len(self.names) else None)
        if self._is_stream:
            start = float(self._map.tell())
            for batch in reader:
                yield batch, start, self._map.tell()
                start = self._map.tell()
        else:
            size = self._total / max(reader.num_record_batches, 1)
            for i in range(reader.num_record_batches):
                yield reader.get_batch(i), i * size, (i + 1) * size
