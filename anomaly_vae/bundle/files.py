"""The model bundle: a directory of files that is written completely or not at all, and checked when it is read.

========================  =====================================================================================
``manifest.json``         everything that is not an array, and the sha256 of every file below:
                          :class:`anomaly_vae.bundle.manifest.Manifest`
``manifest.sha256``       the sha256 of manifest.json, for this reader and for ``sha256sum -c manifest.sha256``
``encoder.onnx``          x, mask -> loc, log_var
``decoder.onnx``          z -> parameters of p(x|z)
``log_joint.onnx``        x, mask, loc, scale, noise -> log p(x, z) at z = loc + scale * noise
``encoder-2.onnx`` ...    the graphs of further members, if the model is an ensemble
``noise.npy``             float32 (R, n, L): R scrambled Sobol sets mapped to standard normal points
``calibration.npy``       float64 (n,): sorted finite calibration scores, nats
``golden.npy``            float64 (G, D + 1): G rows sampled from the model, D columns in data units; the last column
                          is their log p(x) in nats, which is checked whenever the bundle is loaded
``contrast.onnx``         x, mask -> contrast, nats; only if the manifest has a record of it, as for images
``contrast.npy``          float64 (n,): sorted contrasts of the calibration rows, nats. Then golden.npy is (G, D + 2),
                          with the contrasts of its rows in the last column
``model.sig``             the signature of ``anomaly-vae sign``, if there is one; this reader leaves it alone
========================  =====================================================================================

So a change of any bit is detected. Files that operating systems leave in folders (``.DS_Store``, ``Thumbs.db``,
``desktop.ini``, ``lost+found``) are ignored and never opened; any other name is refused.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.bundle.contents import (
    CHECKSUM,
    EVERY_NAME,
    MANIFEST_LIMIT,
    PARTLY_COPIED,
    SIGNATURE,
    check_digest,
    checked_manifest,
    checksum_of,
    file_names,
    graphs_of,
    refuse_unsealed,
)
from anomaly_vae.bundle.file_arrays import CONTRAST_ARRAY, MANIFEST, parse_arrays
from anomaly_vae.bundle.manifest import FileRecord, Manifest
from anomaly_vae.bundle.manifest_json import decode_manifest, encode_manifest
from anomaly_vae.bundle.npy import npy_bytes
from anomaly_vae.bundle.onnx_wire import check_graph
from anomaly_vae.calibration import Calibration
from anomaly_vae.columns.schema import Schema
from anomaly_vae.columns.statistics import RowStatistics
from anomaly_vae.errors import BundleError
from anomaly_vae.storage import STRAY_NAMES, read_file, refuse_directory, write_directory

__all__ = [
    "Bundle",
    "BundleFiles",
    "make_bundle",
    "parse_files",
    "read_bundle",
    "read_files",
    "refuse_output",
    "with_calibration",
    "write_bundle",
]


class BundleFiles(NamedTuple):
    """The checked bytes of a bundle's files.

    Attributes:
        manifest: The content of manifest.json.
        digest: sha256 of manifest.json.
        contents: The bytes of every file with its name, manifest and checksum too, but no signature.
    """

    manifest: Manifest
    digest: str
    contents: Mapping[str, bytes]


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A checked bundle in memory.

    Attributes:
        manifest: The content of manifest.json.
        files: The bytes of every file except the manifest and its checksum, by name.
        digest: sha256 of manifest.json, which holds the digests of these files.
        noise: Standard normal points, float32 (R, n, L).
        calibration: Sorted scores of the calibration rows that do not rank below all others, nats, (n - num_novel,).
        golden_rows: Rows sampled from the model, data units, (G, D).
        golden_log_px: Their log p(x), nats, (G,).
        contrast: Sorted contrasts of the calibration rows, nats, (n,); None for a model without a contrast.
        golden_contrast: Contrasts of the golden rows, nats, (G,); None for a model without a contrast.
    """

    manifest: Manifest
    files: Mapping[str, bytes]
    digest: str
    noise: NDArray[np.float32]
    calibration: FloatArray
    golden_rows: FloatArray
    golden_log_px: FloatArray
    contrast: FloatArray | None = None
    golden_contrast: FloatArray | None = None


def make_bundle(
    manifest: Manifest,
    *,
    graphs: Mapping[str, bytes],
    noise: NDArray[np.float32],
    calibration: FloatArray,
    golden_rows: FloatArray,
    golden_log_px: FloatArray,
    contrast: FloatArray | None = None,
    golden_contrast: FloatArray | None = None,
) -> Bundle:
    """Make a bundle in memory; fill in the digests in ``manifest.files``."""
    golden = [golden_rows, golden_log_px, *([] if golden_contrast is None else [golden_contrast])]
    files = dict(graphs) | {
        "noise.npy": npy_bytes(noise),
        "calibration.npy": npy_bytes(calibration),
        "golden.npy": npy_bytes(np.column_stack(golden)),
    }
    if contrast is not None:
        files[CONTRAST_ARRAY] = npy_bytes(contrast)
    return _with_digests(manifest, files)


def with_calibration(
    bundle: Bundle,
    calibration: Calibration,
    scores: FloatArray,
    created_at: str,
    schema: Schema | None = None,
    contrast: FloatArray | None = None,
    statistics: RowStatistics | None = None,
) -> Bundle:
    """Return the same model with another calibration, and with the schema that the calibration chose, if given.

    Args:
        bundle: The model.
        calibration: The record for the manifest.
        scores: The sorted scores of the calibration, nats.
        created_at: The time, ISO 8601.
        schema: The columns.
        contrast: The sorted contrasts of the calibration, nats; None for a model without a contrast.
        statistics: What the columns of the calibration rows held; None if that is not known.
    """
    manifest = msgspec.structs.replace(
        bundle.manifest,
        calibration=calibration,
        created_at=created_at,
        schema=schema or bundle.manifest.schema,
        statistics=statistics,
    )
    arrays = {"calibration.npy": npy_bytes(scores)}
    if contrast is not None:
        arrays[CONTRAST_ARRAY] = npy_bytes(contrast)
    return _with_digests(manifest, dict(bundle.files) | arrays)


def refuse_output(path: Path, *, overwrite: bool) -> None:
    """Raise ConfigError if :func:`write_bundle` could not write to this path."""
    refuse_directory(path, EVERY_NAME, overwrite=overwrite)


def write_bundle(bundle: Bundle, path: Path, *, overwrite: bool = False) -> None:
    """Write the bundle; the path appears only when it is complete."""
    manifest = encode_manifest(bundle.manifest)
    files = dict(bundle.files) | {MANIFEST: manifest, CHECKSUM: checksum_of(manifest)}
    write_directory(path, files, replaceable=EVERY_NAME, overwrite=overwrite)


def read_bundle(path: Path, *, digest: str | None = None) -> Bundle:
    """Read and check a bundle. Each file is read once: the hashed bytes are the bytes in use.

    Args:
        path: The directory.
        digest: The sha256 that manifest.json must have, from a signature; None for any.

    Raises:
        BundleError: The path is not a bundle, or a file is missing, unknown, a link, changed or malformed.
    """
    return parse_files(read_files(path, digest=digest), str(path))


def read_files(path: Path, *, digest: str | None = None) -> BundleFiles:
    """Read the files of a bundle, as :func:`read_bundle` does, and check their names and digests.

    Raises:
        BundleError: The path is not a bundle, or a file is missing, unknown, a link, or changed.
    """
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except (OSError, ValueError) as error:  # ValueError: the path contains a zero byte
        reason = error.strerror if isinstance(error, OSError) else error
        raise BundleError(f"{path}: no model bundle there: {reason}; expected the directory made by train") from error
    try:
        data = read_file(folder, MANIFEST, path, MANIFEST_LIMIT)
        actual = hashlib.sha256(data).hexdigest()
        if digest not in (None, actual):
            raise BundleError(
                f"{path}/{MANIFEST}: its sha256 starts {actual[:12]}, the signature covers one that starts "
                f"{digest[:12]}; the bundle was changed after it was signed"
            )
        checksum = _read_checksum(folder, data, path)
        manifest = checked_manifest(data, checksum, str(path))
        _check_names(folder, manifest, path)
        contents = {MANIFEST: data, CHECKSUM: checksum}
        for name in file_names(manifest):
            record = manifest.files[name]
            contents[name] = read_file(folder, name, path, record.size)
            check_digest(contents[name], record, f"{path}/{name}")
    finally:
        os.close(folder)
    return BundleFiles(manifest, actual, contents)


def parse_files(found: BundleFiles, where: str) -> Bundle:
    """Parse the bytes of a bundle's files and check that they fit the manifest and each other.

    Raises:
        BundleError: A file is malformed.
    """
    files = {name: found.contents[name] for name in file_names(found.manifest)}
    return _parse(found.manifest, files, found.digest, where)


def _with_digests(manifest: Manifest, files: Mapping[str, bytes]) -> Bundle:
    """Fill in ``manifest.files``, then check the bundle as :func:`read_bundle` does."""
    manifest = msgspec.structs.replace(
        manifest,
        files={
            name: FileRecord(sha256=hashlib.sha256(files[name]).hexdigest(), size=len(files[name]))
            for name in file_names(manifest)
        },
    )
    data = encode_manifest(manifest)
    return _parse(decode_manifest(data, MANIFEST), files, hashlib.sha256(data).hexdigest(), "new bundle")


def _parse(manifest: Manifest, files: Mapping[str, bytes], digest: str, where: str) -> Bundle:
    """Parse the bytes of the files and check that they fit the manifest and each other."""
    for name in graphs_of(manifest):
        check_graph(files[name], f"{where}/{name}")
    arrays = parse_arrays(manifest, files, where)
    return Bundle(manifest=manifest, files=files, digest=digest, **arrays._asdict())


def _check_names(folder: int, manifest: Manifest, path: Path) -> None:
    """Check that the folder has the listed files, and no other except a signature and what systems leave there."""
    listed, ignored = set(manifest.files), {*STRAY_NAMES, SIGNATURE}
    with os.scandir(folder) as entries:  # stop at the first name too many: a folder may hold millions
        names = (entry.name for entry in entries if entry.name not in ignored)
        found = set(itertools.islice(names, len(listed) + 3))
    extra, missing = sorted(found - listed - {MANIFEST, CHECKSUM}), sorted(listed - found)
    if missing and not extra:
        raise BundleError(PARTLY_COPIED.format(path, missing[0]))
    if extra:
        raise BundleError(f"{path}: {extra[0]!r} is not part of a bundle; remove it, or copy the folder again")


def _read_checksum(folder: int, manifest: bytes, path: Path) -> bytes:
    try:
        return read_file(folder, CHECKSUM, path, len(checksum_of(manifest)))
    except BundleError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        refuse_unsealed(manifest, str(path))
