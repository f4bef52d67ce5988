"""One bundle from remote storage into memory, checked as a folder of the same files would be."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from anomaly_vae.bundle.contents import (
    CHECKSUM,
    MANIFEST_LIMIT,
    SIGNATURE,
    SIGNATURE_LIMIT,
    check_digest,
    checked_manifest,
    checksum_of,
    file_names,
)
from anomaly_vae.bundle.file_arrays import MANIFEST
from anomaly_vae.bundle.files import BundleFiles
from anomaly_vae.bundle.manifest import FileRecord
from anomaly_vae.errors import BundleError
from anomaly_vae.remote.signatures import digests_of
from anomaly_vae.remote.store import NotThere, Store

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

__all__ = [
    "OnBytes",
    "Sealed",
    "check_sealed",
    "entry_of",
    "fetch_bundle",
    "fetch_sealed",
    "is_entry",
    "joined",
    "place_of",
]

# Takes the number of bytes that have just arrived or left, and that of all that are needed.
OnBytes = Callable[[int, int], None]

_ENTRY = re.compile(r"[0-9a-f]{64}(-[0-9a-f]{16})?")


class Sealed(NamedTuple):
    """The two files that say what a bundle is.

    Attributes:
        manifest: The bytes of manifest.json.
        signature: Those of model.sig; None for a bundle without one.
    """

    manifest: bytes
    signature: bytes | None

    @property
    def digest(self) -> str:
        """sha256 of manifest.json, the digest of the bundle."""
        return hashlib.sha256(self.manifest).hexdigest()

    @property
    def entry(self) -> str:
        """A name for these very bytes: the digest, and the start of that of the signature."""
        return self.digest + ("" if self.signature is None else f"-{hashlib.sha256(self.signature).hexdigest()[:16]}")


def fetch_sealed(store: Store, folder: str, *, signed: bool | None = None) -> Sealed:
    """Read manifest and signature of a bundle, unchecked.

    Args:
        store: Where it is.
        folder: Its folder, relative to the store's.
        signed: Whether it has a signature; None to try.

    Raises:
        BundleError: There is no manifest, or a file is too large.
        RemoteError: The storage fails.
    """
    try:
        manifest = store.read(joined(folder, MANIFEST), MANIFEST_LIMIT)
    except NotThere as error:
        raise BundleError(f"no model bundle there: {error}") from error
    signature = None if signed is False else _read_if_there(store, joined(folder, SIGNATURE), SIGNATURE_LIMIT)
    return Sealed(manifest, signature)


def check_sealed(sealed: Sealed, key: EllipticCurvePublicKey | None, where: str) -> None:
    """Raise BundleError if a signature by this key does not cover the manifest; without a key any bundle will do."""
    if key is not None and digests_of(sealed.signature, key, where)[MANIFEST] != sealed.digest:
        raise BundleError(f"{where}/{MANIFEST}: the file was changed after the bundle was signed")


def fetch_bundle(store: Store, folder: str, sealed: Sealed, on_bytes: OnBytes | None = None) -> BundleFiles:
    """Read the files of a bundle, and check names, sizes and digests of all.

    Nothing is asked for but the names that a bundle has, and no file is read beyond the size that the manifest lists.

    Args:
        store: Where it is.
        folder: Its folder, relative to the store's.
        sealed: What :func:`fetch_sealed` returned.
        on_bytes: Is told of the progress.

    Returns:
        The files, with the signature among them.

    Raises:
        BundleError: A file is missing, or has other bytes than the manifest lists.
        RemoteError: The storage fails.
    """
    where = place_of(store, folder)
    checksum = _read_if_there(store, joined(folder, CHECKSUM), len(checksum_of(b"")))
    manifest = checked_manifest(sealed.manifest, checksum, where)
    contents = {MANIFEST: sealed.manifest, CHECKSUM: checksum_of(sealed.manifest)}
    total = sum(record.size for record in manifest.files.values())
    for name in file_names(manifest):
        contents[name] = _read_file(store, folder, name, manifest.files[name])
        if on_bytes is not None:
            on_bytes(len(contents[name]), total)
    if sealed.signature is not None:
        contents[SIGNATURE] = sealed.signature
    return BundleFiles(manifest, sealed.digest, contents)


def _read_file(store: Store, folder: str, name: str, record: FileRecord) -> bytes:
    try:
        data = store.read(joined(folder, name), record.size)
    except NotThere as error:
        raise BundleError(f"{error}; the bundle was only partly copied") from error
    check_digest(data, record, f"{store.address}/{joined(folder, name)}")
    return data


def place_of(store: Store, folder: str) -> str:
    """Return the URL of a folder for messages."""
    return joined(str(store.address), folder) if folder else str(store.address)


def joined(folder: str, name: str) -> str:
    """Return the path of a file in a folder; the top folder is empty."""
    return f"{folder}/{name}" if folder else name


def entry_of(files: BundleFiles) -> str:
    """Return :attr:`Sealed.entry` of fetched files."""
    return Sealed(files.contents[MANIFEST], files.contents.get(SIGNATURE)).entry


def is_entry(name: str) -> bool:
    """Return whether this is the name of some :attr:`Sealed.entry`."""
    return _ENTRY.fullmatch(name) is not None


def _read_if_there(store: Store, path: str, limit: int) -> bytes | None:
    try:
        return store.read(path, limit)
    except NotThere:
        return None
