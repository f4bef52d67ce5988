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

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.bundle.file_arrays import ARRAYS, CONTRAST_ARRAY, MANIFEST, most_golden_bytes, parse_arrays
from anomaly_vae.bundle.manifest import FileRecord, Manifest, graph_names
from anomaly_vae.bundle.manifest_json import decode_manifest, encode_manifest, refuse_other_version
from anomaly_vae.bundle.npy import npy_bytes
from anomaly_vae.bundle.onnx_wire import check_graph
from anomaly_vae.calibration import Calibration
from anomaly_vae.columns.schema import Schema
from anomaly_vae.columns.statistics import RowStatistics
from anomaly_vae.errors import BundleError
from anomaly_vae.storage import STRAY_NAMES, read_file, refuse_directory, write_directory

__all__ = ["Bundle", "make_bundle", "read_bundle", "refuse_output", "with_calibration", "write_bundle"]

CHECKSUM = "manifest.sha256"
CONTRAST_GRAPH = "contrast.onnx"

# Members that a bundle may hold, as training writes at most. Chosen, not measured.
_MOST_MEMBERS = 16

# Limits in bytes of the manifest and of all other files together. They bound the memory that a hostile bundle can
# take. Chosen, not measured: far above what training writes.
_MANIFEST_LIMIT = 64 * 2**20
_FOLDER_LIMIT = 2**32

# Characters of a file name that an error message shows: the limit of usual file systems.
_SHOWN_NAME = 255

_EVERY_NAME = (*graph_names(_MOST_MEMBERS), *ARRAYS, CONTRAST_GRAPH, CONTRAST_ARRAY, MANIFEST, CHECKSUM)
_PARTLY_COPIED = "{}: {} is missing; the bundle was only partly copied. Copy the folder again"


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
    refuse_directory(path, _EVERY_NAME, overwrite=overwrite)


def write_bundle(bundle: Bundle, path: Path, *, overwrite: bool = False) -> None:
    """Write the bundle; the path appears only when it is complete."""
    manifest = encode_manifest(bundle.manifest)
    files = dict(bundle.files) | {MANIFEST: manifest, CHECKSUM: _checksum(manifest)}
    write_directory(path, files, replaceable=_EVERY_NAME, overwrite=overwrite)


def read_bundle(path: Path) -> Bundle:
    """Read and check a bundle. Each file is read once: the hashed bytes are the bytes in use.

    Raises:
        BundleError: The path is not a bundle, or a file is missing, unknown, a link, changed or malformed.
    """
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except (OSError, ValueError) as error:  # ValueError: the path contains a zero byte
        reason = error.strerror if isinstance(error, OSError) else error
        raise BundleError(f"{path}: no model bundle there: {reason}; expected the directory made by train") from error
    try:
        data = read_file(folder, MANIFEST, path, _MANIFEST_LIMIT)
        _check_manifest(folder, data, path)
        manifest = decode_manifest(data, f"{path}/{MANIFEST}")
        _check_names(folder, manifest, path)
        _check_sizes(manifest, path)
        files = {}
        for name in _file_names(manifest):
            record = manifest.files[name]
            files[name] = read_file(folder, name, path, record.size)
            _check_digest(files[name], record, f"{path}/{name}")
    finally:
        os.close(folder)
    return _parse(manifest, files, hashlib.sha256(data).hexdigest(), str(path))


def _file_names(manifest: Manifest) -> tuple[str, ...]:
    """Return the names of all files except the manifest and its checksum."""
    return (*_graph_names(manifest), *ARRAYS, *([] if manifest.contrast is None else [CONTRAST_ARRAY]))


def _graph_names(manifest: Manifest) -> tuple[str, ...]:
    return (*graph_names(len(manifest.members)), *([] if manifest.contrast is None else [CONTRAST_GRAPH]))


def _with_digests(manifest: Manifest, files: Mapping[str, bytes]) -> Bundle:
    """Fill in ``manifest.files``, then check the bundle as :func:`read_bundle` does."""
    manifest = msgspec.structs.replace(
        manifest,
        files={
            name: FileRecord(sha256=hashlib.sha256(files[name]).hexdigest(), size=len(files[name]))
            for name in _file_names(manifest)
        },
    )
    data = encode_manifest(manifest)
    return _parse(decode_manifest(data, MANIFEST), files, hashlib.sha256(data).hexdigest(), "new bundle")


def _parse(manifest: Manifest, files: Mapping[str, bytes], digest: str, where: str) -> Bundle:
    """Parse the bytes of the files and check that they fit the manifest and each other."""
    for name in _graph_names(manifest):
        check_graph(files[name], f"{where}/{name}")
    arrays = parse_arrays(manifest, files, where)
    return Bundle(manifest=manifest, files=files, digest=digest, **arrays._asdict())


def _check_names(folder: int, manifest: Manifest, path: Path) -> None:
    listed, files = set(manifest.files), _file_names(manifest)
    if listed != set(files):
        odd = sorted(listed ^ set(files))[0][:_SHOWN_NAME]
        raise BundleError(
            f"{path}/{MANIFEST}: files must list exactly {', '.join(files)}; {odd!r} is missing or unknown"
        )
    with os.scandir(folder) as entries:  # stop at the first name too many: a folder may hold millions
        names = (entry.name for entry in entries if entry.name not in STRAY_NAMES)
        found = set(itertools.islice(names, len(files) + 3))
    extra, missing = sorted(found - listed - {MANIFEST, CHECKSUM}), sorted(listed - found)
    if missing and not extra:
        raise BundleError(_PARTLY_COPIED.format(path, missing[0]))
    if extra:
        raise BundleError(f"{path}: {extra[0]!r} is not part of a bundle; remove it, or copy the folder again")


def _check_sizes(manifest: Manifest, path: Path) -> None:
    """Check the sizes before any file is read: a sparse file claims gigabytes and takes no space on disk."""
    golden = manifest.files["golden.npy"].size
    most = most_golden_bytes(manifest)
    if golden > most:
        raise BundleError(f"{path}/{MANIFEST}: golden.npy has {golden} bytes, expected at most {most}")
    total = sum(record.size for record in manifest.files.values())
    if total > _FOLDER_LIMIT:
        raise BundleError(f"{path}/{MANIFEST}: its files have {total} bytes, a bundle has at most {_FOLDER_LIMIT}")


def _check_manifest(folder: int, data: bytes, path: Path) -> None:
    """Compare the manifest's bytes with their checksum, before they are parsed."""
    expected = _checksum(data)
    try:
        found = read_file(folder, CHECKSUM, path, len(expected))
    except BundleError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        refuse_other_version(data, f"{path}/{MANIFEST}")  # bundles before format 4 have no checksum
        raise BundleError(_PARTLY_COPIED.format(path, CHECKSUM)) from error
    if found != expected:
        raise BundleError(
            f"{path}/{MANIFEST}: its sha256 starts {expected[:12].decode()}, {CHECKSUM} has another; one of the two "
            "was changed after export or only partly copied. Copy the folder again"
        )


def _checksum(manifest: bytes) -> bytes:
    """Return the line that ``sha256sum manifest.json`` prints."""
    return f"{hashlib.sha256(manifest).hexdigest()}  {MANIFEST}\n".encode()


def _check_digest(data: bytes, record: FileRecord, where: str) -> None:
    actual = hashlib.sha256(data).hexdigest()
    if len(data) != record.size or actual != record.sha256:
        raise BundleError(
            f"{where}: {len(data)} bytes with sha256 {actual[:12]}, {MANIFEST} expects {record.size} with "
            f"{record.sha256[:12]}; the file was changed after export or only partly copied. Copy the folder again"
        )
