"""The bytes of a file or a pipe, decompressed, with a view of the first ones and the position that was reached."""

from __future__ import annotations

import io
from typing import BinaryIO

import pyarrow as pa

from anomaly_vae.errors import InvalidInput
from anomaly_vae.table.base import first_line

__all__ = ["SAMPLE_BYTES", "ByteStream"]

# First bytes of a file that show its format, dialect and encoding. Chosen, not measured.
SAMPLE_BYTES = 2**20

_CODECS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


class ByteStream:
    """Bytes to read once. The first bytes tell whether they are compressed, not the name of the file.

    Attributes:
        where: Name in messages.
        size: Bytes of the file as it is, compressed or not; None if they are unknown.
        compression: "gzip", "zstd" or None.
    """

    def __init__(self, file: BinaryIO, where: str, size: int | None, *, keeps_open: bool = False) -> None:
        self.where, self.size, self._keeps_open = where, size, keeps_open
        self._file, self._raw = file, _Counted(file)
        try:
            start = self._raw.peek(4)
        except OSError as error:
            raise self._failed(error) from error
        self.compression = next((codec for magic, codec in _CODECS.items() if start.startswith(magic)), None)
        self._source = self._raw
        if self.compression:
            self._source = pa.CompressedInputStream(pa.PythonFile(self._raw, "r"), self.compression)
        self._ahead, self._produced = b"", 0
        self._ended = False

    @property
    def position(self) -> float:
        """Bytes of the file up to what was read; for compressed ones about, by the mean ratio so far."""
        return self._raw.position * (1 - len(self._ahead) / max(self._produced, 1))

    def peek(self, size: int) -> bytes:
        """Return the next bytes, fewer only at the end, and leave them to be read."""
        parts, length = [self._ahead], len(self._ahead)
        while length < size and not self._ended:
            part = self._next(size - length)
            parts.append(part)
            length += len(part)
        self._ahead = b"".join(parts)
        return self._ahead[:size]

    def read(self, size: int) -> bytes:
        """Return the next bytes, fewer only at the end."""
        data = self.peek(size)
        self._ahead = self._ahead[size:]
        return data

    def close(self) -> None:
        """Close the file, unless others opened it."""
        if not self._keeps_open:
            self._file.close()

    def _next(self, size: int) -> bytes:
        try:
            data: bytes = self._source.read(size)
        except (OSError, pa.ArrowException) as error:
            raise self._failed(error) from error
        self._ended = not data
        self._produced += len(data)
        return data

    def _failed(self, error: Exception) -> InvalidInput:
        if isinstance(error, OSError) and error.errno is not None:
            return InvalidInput(f"{self.where}: cannot be read: {error.strerror or error}")
        return InvalidInput(
            f"{self.where}: the {self.compression} data are cut off or damaged after {self._raw.position} bytes "
            f"({first_line(error)}); copy the file again"
        )


class _Counted(io.RawIOBase):
    """A file that counts what was read of it, and can return its first bytes again."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._start = file, b""
        self.position = 0

    def readable(self) -> bool:
        return True

    def peek(self, size: int) -> bytes:
        self._start += self._file.read(size - len(self._start))
        return self._start

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data, self._start = self._start[: len(buffer)], self._start[len(buffer) :]
        data = data or self._file.read(len(buffer))
        buffer[: len(data)] = data
        self.position += len(data)
        return len(data)
