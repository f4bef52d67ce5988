"""What the files of a bundle must be, wherever their bytes come from: a folder, an object store, a web server."""

from __future__ import annotations

import hashlib
from typing import NoReturn

from anomaly_vae.bundle.file_arrays import ARRAYS, CONTRAST_ARRAY, MANIFEST, most_golden_bytes
from anomaly_vae.bundle.manifest import FileRecord, Manifest, graph_names
from anomaly_vae.bundle.manifest_json import decode_manifest, refuse_other_version
from anomaly_vae.errors import BundleError

__all__ = [
    "CHECKSUM",
    "CONTRAST_GRAPH",
    "EVERY_NAME",
    "FOLDER_LIMIT",
    "MANIFEST_LIMIT",
    "PARTLY_COPIED",
    "SIGNATURE",
    "SIGNATURE_LIMIT",
    "check_digest",
    "checked_manifest",
    "checksum_of",
    "file_names",
    "graphs_of",
    "refuse_unsealed",
]

CHECKSUM = "manifest.sha256"
CONTRAST_GRAPH = "contrast.onnx"
# The signature of `anomaly-vae sign`. Readers allow the name and leave the file alone.
SIGNATURE = "model.sig"

# Members that a bundle may hold, as training writes at most. Chosen, not measured.
_MOST_MEMBERS = 16

# Limits in bytes of the manifest, of a signature, and of all files together. They bound the memory that a hostile
# bundle can take. Chosen, not measured: far above what training and signing write.
MANIFEST_LIMIT = 64 * 2**20
SIGNATURE_LIMIT = 2**20
FOLDER_LIMIT = 2**32

# Characters of a file name that an error message shows: the limit of usual file systems.
_SHOWN_NAME = 255

EVERY_NAME = (*graph_names(_MOST_MEMBERS), *ARRAYS, CONTRAST_GRAPH, CONTRAST_ARRAY, MANIFEST, CHECKSUM, SIGNATURE)
PARTLY_COPIED = "{}: {} is missing; the bundle was only partly copied. Copy the folder again"


def graphs_of(manifest: Manifest) -> tuple[str, ...]:
    """Return the names of the graphs."""
    return (*graph_names(len(manifest.members)), *([] if manifest.contrast is None else [CONTRAST_GRAPH]))


def file_names(manifest: Manifest) -> tuple[str, ...]:
    """Return the names of all files except the manifest, its checksum and a signature."""
    return (*graphs_of(manifest), *ARRAYS, *([] if manifest.contrast is None else [CONTRAST_ARRAY]))


def checksum_of(manifest: bytes) -> bytes:
    """Return the line that ``sha256sum manifest.json`` prints."""
    return f"{hashlib.sha256(manifest).hexdigest()}  {MANIFEST}\n".encode()


def checked_manifest(data: bytes, checksum: bytes | None, where: str) -> Manifest:
    """Parse the manifest after comparing it with its checksum; check the names and sizes that it lists.

    The names are exactly those that a bundle of its members has, so a name that it lists is safe to use as a path.

    Args:
        data: The bytes of manifest.json.
        checksum: Those of manifest.sha256; None if it is missing.
        where: Name of the bundle in messages.

    Raises:
        BundleError: The manifest is not as written, malformed, of another version, or lists other files or too many
            bytes.
    """
    if checksum is None:
        refuse_unsealed(data, where)
    _check_checksum(data, checksum, where)
    manifest = decode_manifest(data, f"{where}/{MANIFEST}")
    _check_listed(manifest, where)
    _check_sizes(manifest, where)
    return manifest


def refuse_unsealed(data: bytes, where: str) -> NoReturn:
    """Raise BundleError for a manifest without a checksum; bundles before format 4 have none."""
    refuse_other_version(data, f"{where}/{MANIFEST}")
    raise BundleError(PARTLY_COPIED.format(where, CHECKSUM))


def check_digest(data: bytes, record: FileRecord, where: str) -> None:
    """Raise BundleError if a file's bytes are not those that the manifest lists."""
    actual = hashlib.sha256(data).hexdigest()
    if len(data) != record.size or actual != record.sha256:
        raise BundleError(
            f"{where}: {len(data)} bytes with sha256 {actual[:12]}, {MANIFEST} expects {record.size} with "
            f"{record.sha256[:12]}; the file was changed after export or only partly copied. Copy the folder again"
        )


def _check_checksum(data: bytes, found: bytes, where: str) -> None:
    expected = checksum_of(data)
    if found != expected:
        raise BundleError(
            f"{where}/{MANIFEST}: its sha256 starts {expected[:12].decode()}, {CHECKSUM} has another; one of the two "
            "was changed after export or only partly copied. Copy the folder again"
        )


def _check_listed(manifest: Manifest, where: str) -> None:
    listed, files = set(manifest.files), file_names(manifest)
    if listed != set(files):
        odd = sorted(listed ^ set(files))[0][:_SHOWN_NAME]
        raise BundleError(
            f"{where}/{MANIFEST}: files must list exactly {', '.join(files)}; {odd!r} is missing or unknown"
        )


def _check_sizes(manifest: Manifest, where: str) -> None:
    """Check the sizes before any file is read: a sparse file claims gigabytes and takes no space on disk."""
    golden = manifest.files["golden.npy"].size
    most = most_golden_bytes(manifest)
    if golden > most:
        raise BundleError(f"{where}/{MANIFEST}: golden.npy has {golden} bytes, expected at most {most}")
    total = sum(record.size for record in manifest.files.values())
    if total > FOLDER_LIMIT:
        raise BundleError(f"{where}/{MANIFEST}: its files have {total} bytes, a bundle has at most {FOLDER_LIMIT}")
