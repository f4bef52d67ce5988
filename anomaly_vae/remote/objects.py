"""Folders in object stores: Amazon S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import timedelta
from functools import cached_property
from typing import Any

from anomaly_vae.errors import BundleError, ConfigError, RemoteError
from anomaly_vae.remote.address import Address
from anomaly_vae.remote.store import Found, NotThere

__all__ = ["ObjectFolder"]

# Seconds until a connection must stand, seconds without a byte, and how often a request is tried. Chosen: a scan that
# fails is repeated at the next poll, so a long wait helps nobody. Measured: 15 s and 3 tries took 54 s with a server
# that says nothing.
_CONNECT_S, _SILENCE_S, _TRIES = 5.0, 10.0, 2

_CHUNK = 2**20  # bytes that are read at a time


class ObjectFolder:
    """A folder in an object store, through ``pyarrow.fs``.

    Credentials come from where the tools of the storage look: the environment, their files, the role of the machine.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._root = f"{address.place}/{address.path}".rstrip("/")

    def files(self) -> list[Found]:
        """Return all files below the folder; an empty list if there is no such folder."""
        from pyarrow.fs import FileSelector, FileType

        with self._failures(), contextlib.suppress(FileNotFoundError):
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
            with self._failures(), self._system.open_input_stream(self._full(path)) as stream:
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
            with self._failures(), self._system.open_output_stream(self._full(path)) as stream:
                stream.write(data)
        except FileNotFoundError as error:
            raise RemoteError(f"{self.address}/{path}: cannot be written: {_line(error)}") from error

    def delete(self, path: str) -> None:
        """Delete a file."""
        with self._failures(), contextlib.suppress(FileNotFoundError):
            self._system.delete_file(self._full(path))

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}"

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        """Turn what pyarrow raises into RemoteError; FileNotFoundError is left to the caller."""
        from pyarrow import ArrowException

        try:
            yield
        except FileNotFoundError:
            raise
        except (OSError, ArrowException) as error:
            raise RemoteError(f"{self.address}: {_line(error)}") from error

    @cached_property
    def _system(self) -> Any:
        return {"s3": self._s3, "gs": self._gs, "az": self._az}[self.address.scheme]()

    def _s3(self) -> Any:
        from pyarrow import fs

        options = dict(self.address.options)
        scheme, endpoint = _s3_endpoint(options)
        region = options.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        if region is None:
            region = "us-east-1" if endpoint else fs.resolve_s3_region(self.address.place)
        return fs.S3FileSystem(
            region=region,
            scheme=scheme,
            endpoint_override=endpoint,
            anonymous=options.get("anonymous") == "true",
            connect_timeout=_CONNECT_S,
            request_timeout=_SILENCE_S,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_TRIES),
            background_writes=False,
        )

    def _gs(self) -> Any:
        from pyarrow import fs

        options = self.address.options
        return fs.GcsFileSystem(
            anonymous=options.get("anonymous") == "true",
            scheme=options.get("scheme"),
            endpoint_override=options.get("endpoint_override"),
            retry_time_limit=timedelta(seconds=_SILENCE_S),
        )

    def _az(self) -> Any:
        from pyarrow import fs

        options = self.address.options
        account = options.get("account") or os.environ.get("AZURE_STORAGE_ACCOUNT")
        if not account:
            raise ConfigError(f"{self.address}: set AZURE_STORAGE_ACCOUNT, or write az://ACCOUNT@CONTAINER/PATH")
        endpoint, scheme = options.get("endpoint_override"), options.get("scheme")
        return fs.AzureFileSystem(
            account,
            account_key=os.environ.get("AZURE_STORAGE_KEY"),
            sas_token=os.environ.get("AZURE_STORAGE_SAS_TOKEN"),
            **({} if endpoint is None else {"blob_storage_authority": endpoint, "dfs_storage_authority": endpoint}),
            **({} if scheme is None else {"blob_storage_scheme": scheme, "dfs_storage_scheme": scheme}),
        )


def _s3_endpoint(options: dict[str, str]) -> tuple[str, str | None]:
    """Return scheme and HOST:PORT; None for Amazon's. The environment's endpoint is a URL, as in Amazon's tools."""
    scheme = options.get("scheme", "https")
    if "endpoint_override" in options:
        return scheme, options["endpoint_override"]
    url = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not url:
        return scheme, None
    found, _, rest = url.partition("://")
    return found, rest.rstrip("/")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
