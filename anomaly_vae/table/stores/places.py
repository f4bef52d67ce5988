"""Files in object stores by their name, as far as a reader of tables needs what a path has."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from anomaly_vae.errors import InvalidInput
from anomaly_vae.remote.address import Address, parse_address
from anomaly_vae.remote.systems import failures, file_system

__all__ = ["ObjectPath", "Place", "place_of"]

# How often a request is tried. Chosen, not measured: a job of hours must survive a store that is busy for seconds, and
# no one waits for a single request as for a poll.
_TRIES = 5


@dataclass(frozen=True)
class ObjectPath:
    """A file in an object store.

    Attributes:
        system: The file system of ``pyarrow.fs``.
        scheme: s3, gs or az.
        key: The bucket and the names below it, joined by slashes.
        size: Bytes; 0 if they are unknown.
        modified_ns: When it was last written, nanoseconds since 1970; 0 if that is unknown.
    """

    system: Any = field(compare=False, repr=False)
    scheme: str
    key: str
    size: int = 0
    modified_ns: int = 0

    def __str__(self) -> str:
        """Return the URL for messages, without its options."""
        return f"{self.scheme}://{self.key}"

    @property
    def name(self) -> str:
        """The last part of the name."""
        return PurePosixPath(self.key).name

    def as_posix(self) -> str:
        """Return the name to sort by."""
        return self.key

    def relative_to(self, folder: ObjectPath) -> PurePosixPath:
        """Return the names below a folder, which must be above the file."""
        return PurePosixPath(self.key).relative_to(PurePosixPath(folder.key))

    def __truediv__(self, name: str) -> ObjectPath:
        """Return a name below this one."""
        return ObjectPath(self.system, self.scheme, f"{self.key}/{name}")


@dataclass(frozen=True)
class Place:
    """What a URL of a table names: a file, a folder or a pattern.

    Attributes:
        address: The URL, taken apart.
        path: The name; a pattern as it is written.
        is_folder: Whether the URL ends with a slash, so that it can only be a folder.
    """

    address: Address
    path: ObjectPath
    is_folder: bool

    @property
    def where(self) -> str:
        """The URL for messages, without its options."""
        return f"{self.path}/" if self.is_folder else str(self.path)


def place_of(url: str) -> Place:
    """Take the URL of a table apart. Nothing is contacted, but for the region of a bucket of Amazon that is not given.

    In a URL ``?`` begins the options, so that only ``*`` and ``[`` make a pattern.

    Raises:
        ConfigError: The URL cannot be used.
        InvalidInput: It names no file and no folder.
        RemoteError: The region of the bucket cannot be found.
    """
    address = parse_address(url, "tables")
    path = ObjectPath(None, address.scheme, f"{address.place}/{address.path}".rstrip("/"))
    is_folder = url.partition("?")[0].endswith("/") or not address.path
    try:
        with failures(address):
            system = file_system(address, _TRIES)
    except FileNotFoundError as error:
        raise InvalidInput(f"{address}: no such bucket") from error
    return Place(address, ObjectPath(system, path.scheme, path.key), is_folder)
