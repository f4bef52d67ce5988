"""Read files in object stores: parts of them, from the start to the end, or a copy of the whole on this machine."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from anomaly_vae.errors import InvalidInput, RemoteError
from anomaly_vae.remote.systems import failures
from anomaly_vae.table.stores.places import ObjectPath

__all__ = ["ObjectFile", "ReadAhead", "local_copy"]

# Bytes of the first request of a file that is read from its start, and the most of one request: each is twice the one
# before. Chosen, not measured: a look at the format of a file must cost little, and a request takes about as long as
# the transfer of a MiB.
_FIRST_BYTES, _MOST_BYTES = 2**16, 2**23

# Bytes that are copied at a time.
_COPIED_BYTES = 2**22


class ObjectFile(io.RawIOBase):
    """A file in an object store, read by requests for parts of it. A failure is a RemoteError, not an OSError.

    Readers of pyarrow let it through, and so a store that fails is never taken for a file that is damaged.
    """

    def __init__(self, path: ObjectPath) -> None:
        """Open a file.

        Raises:
            InvalidInput: There is no such file.
            RemoteError: The store fails.
        """
        self._path, self._position = path, 0
        try:
            with failures(path):
                self._file = path.system.open_input_file(path.key)
                self.size: int = self._file.size()
        except FileNotFoundError as error:
            raise InvalidInput(f"{path}: no such file") from error

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the number of bytes before the next one that is read."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to another byte, and return its number."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        self._position = start + offset
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes, fewer only at the end.

        Raises:
            RemoteError: The store fails, or the file is gone.
        """
        left = max(self.size - self._position, 0)
        size = left if size is None or size < 0 else min(size, left)
        if not size:
            return b""
        try:
            with failures(self._path):
                data: bytes = self._file.read_at(size, self._position)
        except FileNotFoundError as error:
            raise RemoteError(f"{self._path}: was deleted while it was read") from error
        self._position += len(data)
        return data

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            self._file.close()
        super().close()


class ReadAhead:
    """A file in an object store from its start to its end, by few requests."""

    def __init__(self, path: ObjectPath) -> None:
        """Open a file; see :class:`ObjectFile`."""
        self._file, self._ahead, self._next = ObjectFile(path), io.BytesIO(), _FIRST_BYTES

    def read(self, size: int) -> bytes:
        """Return the next bytes, fewer only at the end."""
        data = self._ahead.read(size)
        if len(data) == size:
            return data
        more = self._file.read(max(self._next, size - len(data)))
        self._next, self._ahead = min(2 * self._next, _MOST_BYTES), io.BytesIO(more)
        return data + self._ahead.read(size - len(data))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@contextlib.contextmanager
def local_copy(path: ObjectPath) -> Iterator[Path]:
    """Copy a file to an unnamed one in TMPDIR, and yield a path to it, which is gone after the block.

    A file that was opened or mapped to memory in the block can still be read after it.

    Raises:
        RemoteError: The store fails, or there is no room.
    """
    with tempfile.TemporaryFile() as copy:
        source = ObjectFile(path)
        try:
            shutil.copyfileobj(source, copy, _COPIED_BYTES)
            copy.flush()
        except OSError as error:
            reason = error.strerror or error
            raise RemoteError(
                f"{path}: a copy of {source.size} bytes cannot be written to {tempfile.gettempdir()}: {reason}; set "
                "TMPDIR to another folder"
            ) from error
        finally:
            source.close()
        yield _path_of(copy)


def _path_of(file: IO[bytes]) -> Path:
    """Return a path that opens an open file without a name."""
    return Path(f"/proc/self/fd/{file.fileno()}")
