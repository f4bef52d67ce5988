"""Bundles in folders of object stores."""

from __future__ import annotations

import contextlib
from functools import cached_property
from typing import Any

from anomaly_vae.errors import BundleError, RemoteError
from anomaly_vae.remote.address import Address
from anomaly_vae.remote.store import Found, NotThere
from anomaly_vae.remote.systems import failures, file_system, line_of

__all__ = ["ObjectFolder"]

_CHUNK = 2**20  # bytes that are read at a time


class ObjectFolder:
    """A folder in an object store; see :mod:`anomaly_vae.remote.systems`."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._root = f"{address.place}/{address.path}".rstrip("/")

    def files(self) -> list[Found]:
        """Return all files below the folder; an empty list if there is no such folder."""
        from pyarrow.fs import FileSelector, FileType

        with failures(self.address), contextlib.suppress(FileNotFoundError):
            selector = FileSelector(self._root, recursive=True)  # raises another error if there is no such bucket
            return [
                Found(info.path.removeprefix(f"{self._root}/"), info.size, info.mtime_ns)
                for info in self._system.get_file_info(selector)
                if info.type == FileType.File
            ]
        return []

    def read(self, path: str, limit: int) -> bytes:
        """Return the bytes of a file."""
        parts, size = [], 0
        try:
            with failures(self.address), self._system.open_input_stream(self._full(path), compression=None) as stream:
                while chunk := stream.read(_CHUNK):
                    size += len(chunk)
                    if size > limit:
                        raise BundleError(f"{self.address}/{path}: over {limit} bytes, expected at most that")
                    parts.append(chunk)
        except FileNotFoundError as error:
            raise NotThere(f"{self.address}/{path}: there is no such file") from error
        return b"".join(parts)

    def write(self, path: str, data: bytes) -> None:
        """Write a file; object stores show it when it is complete."""
        try:
            with failures(self.address), self._system.open_output_stream(self._full(path), compression=None) as stream:
                stream.write(data)
        except FileNotFoundError as error:
            raise RemoteError(f"{self.address}/{path}: cannot be written: {line_of(error)}") from error

    def delete(self, path: str) -> None:
        """Delete a file."""
        with failures(self.address), contextlib.suppress(FileNotFoundError):
            self._system.delete_file(self._full(path))

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}"

    @cached_property
    def _system(self) -> Any:
        return file_system(self.address)
