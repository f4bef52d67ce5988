"""What every kind of remote storage can do: list, read and write small files below a folder."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from anomaly_vae.errors import RemoteError
from anomaly_vae.remote.address import Address

__all__ = ["Found", "NotThere", "Store"]


class NotThere(RemoteError):
    """A file is not there, or must not be seen: some servers say the same of both."""


class Found(NamedTuple):
    """A file in remote storage.

    Attributes:
        path: Relative to the folder of the store.
        size: Bytes.
        changed: Time of its last change, nanoseconds since 1970; None if the storage does not say.
    """

    path: str
    size: int
    changed: int | None


class Store(Protocol):
    """A folder in remote storage. Every method raises RemoteError if the storage fails.

    Attributes:
        address: Where it is.
    """

    address: Address

    def files(self) -> list[Found] | None:
        """Return all files below the folder; None if the storage cannot list them."""
        ...

    def read(self, path: str, limit: int) -> bytes:
        """Return the bytes of a file.

        Raises:
            NotThere: There is no such file.
            BundleError: It has more than ``limit`` bytes.
        """
        ...

    def write(self, path: str, data: bytes) -> None:
        """Write a file, which appears when it is complete; replace one that exists."""
        ...

    def delete(self, path: str) -> None:
        """Delete a file; one that is gone is no error."""
        ...
