"""Whether a bundle is what somebody signed: checked before a byte of it is parsed."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from anomaly_vae.bundle.contents import CHECKSUM, MANIFEST_LIMIT, SIGNATURE, SIGNATURE_LIMIT
from anomaly_vae.bundle.file_arrays import MANIFEST
from anomaly_vae.errors import BundleError
from anomaly_vae.remote.envelope import signed_digests
from anomaly_vae.remote.keys import read_public_key
from anomaly_vae.storage import STRAY_NAMES, read_file

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

__all__ = ["digests_of", "read_signature", "verify", "verify_contents"]

# Bytes of a file of a bundle; its reader has the same limit.
_FILE_LIMIT = 2**30


def verify(folder: Path, public_key: Path) -> str:
    """Check the signature of a bundle, and that its files are those that were signed, no more and no fewer.

    Whoever reads the bundle afterwards must check that its manifest has the returned digest: then there is no gap in
    which a file could be exchanged, because the manifest holds the digests of all files.

    Args:
        folder: The bundle.
        public_key: Of whom the signature must be, PEM.

    Returns:
        The sha256 that manifest.json had when it was signed.

    Raises:
        BundleError: There is no signature, it is wrong or by another key, or a file was changed, added or removed.
        ConfigError: The key cannot be used.
    """
    key = read_public_key(public_key)
    digests = digests_of(read_signature(folder), key, str(folder))
    with _opened(folder) as handle:
        with os.scandir(handle) as entries:  # a folder of millions is not listed to its end
            names = (entry.name for entry in entries if entry.name not in {*STRAY_NAMES, SIGNATURE})
            _check_names(set(itertools.islice(names, len(digests) + 1)), digests, str(folder))
        for name, digest in digests.items():
            limit = MANIFEST_LIMIT if name == MANIFEST else _FILE_LIMIT
            _check_file(read_file(handle, name, folder, limit), digest, f"{folder}/{name}")
    return digests[MANIFEST]


def verify_contents(contents: Mapping[str, bytes], key: EllipticCurvePublicKey, where: str) -> None:
    """Check the signature of a bundle in memory, as :func:`verify` does for a folder.

    Args:
        contents: The bytes of its files by name, with the signature.
        key: Whose signature it must be.
        where: Name of the bundle in messages.

    Raises:
        BundleError: As for :func:`verify`.
    """
    digests = digests_of(contents.get(SIGNATURE), key, where)
    _check_names(contents.keys() - {SIGNATURE}, digests, where)
    for name, digest in digests.items():
        _check_file(contents[name], digest, f"{where}/{name}")


def digests_of(signature: bytes | None, key: EllipticCurvePublicKey, where: str) -> Mapping[str, str]:
    """Return the sha256 of each file that a signature covers, by name; manifest.json is among them.

    Args:
        signature: The bytes of model.sig; None if there is none.
        key: Whose signature it must be.
        where: Name of the bundle in messages.

    Raises:
        BundleError: There is no signature, or it is wrong or by another key.
    """
    if signature is None:
        raise BundleError(f"{where}: the bundle is not signed; sign it with `anomaly-vae sign MODEL --key PRIVATE.pem`")
    digests = signed_digests(signature, key, f"{where}/{SIGNATURE}")
    if not {MANIFEST, CHECKSUM} <= digests.keys():
        raise BundleError(f"{where}/{SIGNATURE}: it does not cover {MANIFEST}; sign the bundle again")
    return digests


def read_signature(folder: Path) -> bytes | None:
    """Return the bytes of model.sig; None if there is none.

    Raises:
        BundleError: The folder or the file cannot be read.
    """
    with _opened(folder) as handle:
        try:
            return read_file(handle, SIGNATURE, folder, SIGNATURE_LIMIT)
        except BundleError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """Yield a handle of a folder, which stays the same folder whatever its path names meanwhile."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BundleError(f"{folder}: no model bundle there: {reason}") from error
    try:
        yield handle
    finally:
        os.close(handle)


def _check_names(found: Collection[str], signed: Collection[str], where: str) -> None:
    for name in sorted(set(found) - set(signed)):
        raise BundleError(f"{where}/{name}: the file was added after the bundle was signed")
    for name in sorted(set(signed) - set(found)):
        raise BundleError(f"{where}/{name}: the file was removed after the bundle was signed")


def _check_file(data: bytes, digest: str, where: str) -> None:
    if hashlib.sha256(data).hexdigest() != digest:
        raise BundleError(f"{where}: the file was changed after the bundle was signed")
