"""The model bundle: a directory written whole or not at all, and read with suspicion.

========================  =====================================================================================
``manifest.json``         everything that is not an array, and the sha256 of every file below:
                          :class:`anomaly_vae.manifest.Manifest`
``manifest.sha256``       the sha256 of manifest.json, for this reader and for ``sha256sum -c manifest.sha256``
``encoder.onnx``          x, mask -> loc, log_var
``decoder.onnx``          z -> parameters of p(x|z)
``log_joint.onnx``        x, mask, loc, scale, noise -> log p(x, z) at z = loc + scale * noise
``noise.npy``             float32 (R, n, L): R scrambled Sobol sets mapped to standard normal points
``calibration.npy``       float64 (n,): sorted finite calibration scores, nats
``encoder-2.onnx`` ...    the same of further members, where the model is a mixture
``golden.npz``            rows sampled from the model and their log p(x), checked whenever the bundle is loaded
========================  =====================================================================================

So every bit of the folder is checked. Files that operating systems leave in any folder (``.DS_Store``, ``Thumbs.db``,
``desktop.ini``, ``lost+found``) are never opened; any other name is refused.
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

from anomaly_vae.calibration import threshold_at_rank
from anomaly_vae.densities import FloatArray
from anomaly_vae.errors import BundleError
from anomaly_vae.manifest import (
    Calibration,
    FileRecord,
    Manifest,
    decode_manifest,
    encode_manifest,
    graph_names,
    refuse_other_version,
)
from anomaly_vae.npy import npy, npz, parse_npy, parse_npz
from anomaly_vae.onnx_wire import check_graph
from anomaly_vae.storage import STRAY_NAMES, read_file, refuse_directory, write_directory

__all__ = ["Bundle", "assemble", "read_bundle", "refuse_output", "with_calibration", "write_bundle"]

MANIFEST, CHECKSUM = "manifest.json", "manifest.sha256"
ARRAYS = ("noise.npy", "calibration.npy", "golden.npz")

_MANIFEST_LIMIT = 16 * 2**20
_FOLDER_LIMIT = 2**32
_PARTLY_COPIED = "{}: {} is missing; the bundle was only partly copied. Copy the folder again"
_MOST_POINTS = 4096
_MOST_GOLDEN = 256
_LONGEST_NAME = 255
_MOST_MEMBERS = 16
_EVERY_NAME = (*graph_names(_MOST_MEMBERS), *ARRAYS, MANIFEST, CHECKSUM)


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A checked bundle in memory.

    Attributes:
        manifest: Its description.
        files: The bytes of every file but the manifest and its checksum.
        digest: sha256 of manifest.json, which holds the digests of these files.
        noise: Standard normal points, float32 (R, n, L).
        calibration: Sorted finite calibration scores, nats, (n,).
        golden_rows: Rows sampled from the model, data units, (G, D).
        golden_log_px: Their log p(x), nats, (G,).
    """

    manifest: Manifest
    files: Mapping[str, bytes]
    digest: str
    noise: NDArray[np.float32]
    calibration: FloatArray
    golden_rows: FloatArray
    golden_log_px: FloatArray


def assemble(
    manifest: Manifest,
    *,
    graphs: Mapping[str, bytes],
    noise: NDArray[np.float32],
    calibration: FloatArray,
    golden_rows: FloatArray,
    golden_log_px: FloatArray,
) -> Bundle:
    """Make a bundle in memory; the digests in ``manifest.files`` are filled in here."""
    files = dict(graphs) | {
        "noise.npy": npy(noise),
        "calibration.npy": npy(calibration),
        "golden.npz": npz(rows=golden_rows, log_px=golden_log_px),
    }
    return _sealed(manifest, files)


def with_calibration(bundle: Bundle, calibration: Calibration, scores: FloatArray, created_at: str) -> Bundle:
    """The same model with another calibration."""
    manifest = msgspec.structs.replace(bundle.manifest, calibration=calibration, created_at=created_at)
    return _sealed(manifest, dict(bundle.files) | {"calibration.npy": npy(scores)})


def refuse_output(path: Path, *, overwrite: bool) -> None:
    """Raise ConfigError now if :func:`write_bundle` could not write there later."""
    refuse_directory(path, _EVERY_NAME, overwrite=overwrite)


def write_bundle(bundle: Bundle, path: Path, *, overwrite: bool = False) -> None:
    """Write the bundle so that it appears under its name only when complete."""
    manifest = encode_manifest(bundle.manifest)
    files = dict(bundle.files) | {MANIFEST: manifest, CHECKSUM: _checksum(manifest)}
    write_directory(path, files, replaceable=_EVERY_NAME, overwrite=overwrite)


def read_bundle(path: Path) -> Bundle:
    """Read and check a bundle; the bytes that are hashed are the bytes that are used.

    Raises:
        BundleError: Not a bundle, or one with a missing, unknown, linked, changed or malformed file.
    """
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except (OSError, ValueError) as error:  # the latter where the path holds a zero
        reason = error.strerror if isinstance(error, OSError) else error
        raise BundleError(f"{path}: no model bundle there: {reason}; expected the directory made by train") from error
    try:
        data = read_file(folder, MANIFEST, path, _MANIFEST_LIMIT)
        _check_manifest(folder, data, path)
        manifest = decode_manifest(data, f"{path}/{MANIFEST}")
        _check_names(folder, manifest, path)
        _check_sizes(manifest, path)
        files = {}
        for name in _files(manifest):
            record = manifest.files[name]
            files[name] = read_file(folder, name, path, record.size)
            _check_digest(files[name], record, f"{path}/{name}")
    finally:
        os.close(folder)
    return _checked(manifest, files, hashlib.sha256(data).hexdigest(), str(path))


def _files(manifest: Manifest) -> tuple[str, ...]:
    """The names of all files but the manifest and its checksum."""
    return (*graph_names(len(manifest.members)), *ARRAYS)


def _sealed(manifest: Manifest, files: Mapping[str, bytes]) -> Bundle:
    manifest = msgspec.structs.replace(
        manifest,
        files={
            name: FileRecord(sha256=hashlib.sha256(files[name]).hexdigest(), size=len(files[name]))
            for name in _files(manifest)
        },
    )
    data = encode_manifest(manifest)
    return _checked(decode_manifest(data, MANIFEST), files, hashlib.sha256(data).hexdigest(), "new bundle")


def _checked(manifest: Manifest, files: Mapping[str, bytes], digest: str, where: str) -> Bundle:
    for name in graph_names(len(manifest.members)):
        check_graph(files[name], f"{where}/{name}")
    noise = parse_npy(files["noise.npy"], np.dtype("<f4"), 3, f"{where}/noise.npy")
    calibration = parse_npy(files["calibration.npy"], np.dtype("<f8"), 1, f"{where}/calibration.npy")
    golden = parse_npz(files["golden.npz"], {"rows": 2, "log_px": 1}, f"{where}/golden.npz")
    bundle = Bundle(
        manifest=manifest,
        files=files,
        digest=digest,
        noise=noise,
        calibration=calibration,
        golden_rows=golden["rows"],
        golden_log_px=golden["log_px"],
    )
    _check_shapes(bundle, where)
    return bundle


def _check_shapes(bundle: Bundle, where: str) -> None:
    manifest, calibration = bundle.manifest, bundle.manifest.calibration
    scramblings, points, latent_dim = bundle.noise.shape
    estimator = manifest.estimator
    expected_dim = max(member.architecture.latent_dim for member in manifest.members)

    def require(holds: bool, name: str, rule: str) -> None:
        if not holds:
            raise BundleError(f"{where}/{name}: {rule}; the file was changed after export")

    require(
        (scramblings, latent_dim) == (estimator.scramblings, expected_dim)
        and 0 < points <= _MOST_POINTS
        and points & (points - 1) == 0,
        "noise.npy",
        f"has shape {bundle.noise.shape}, expected ({estimator.scramblings}, n, {expected_dim}) with n a "
        f"power of two up to {_MOST_POINTS}",
    )
    require(
        scramblings * points >= estimator.num_samples,
        "noise.npy",
        f"holds {scramblings * points} points, estimator.num_samples is {estimator.num_samples}",
    )
    num_finite = calibration.num_rows - calibration.num_novel
    require(
        len(bundle.calibration) == num_finite,
        "calibration.npy",
        f"holds {len(bundle.calibration)} scores, the manifest says {num_finite}",
    )
    require(bool(np.all(bundle.calibration[1:] >= bundle.calibration[:-1])), "calibration.npy", "is not sorted")
    require(
        calibration.threshold == threshold_at_rank(bundle.calibration, calibration.num_novel, calibration.rank),
        MANIFEST,
        f"calibration.threshold is not the score of rank {calibration.rank}",
    )
    golden = (len(bundle.golden_log_px), len(manifest.schema.columns))
    require(
        bundle.golden_rows.shape == golden and 0 < golden[0] <= _MOST_GOLDEN,
        "golden.npz",
        f"has rows of shape {bundle.golden_rows.shape}, expected {golden}, at most {_MOST_GOLDEN} rows",
    )


def _check_names(folder: int, manifest: Manifest, path: Path) -> None:
    listed, files = set(manifest.files), _files(manifest)
    if listed != set(files):
        odd = sorted(listed ^ set(files))[0][:_LONGEST_NAME]
        raise BundleError(f"{path}/{MANIFEST}: files must list exactly {', '.join(files)}; {odd!r} is at fault")
    with os.scandir(folder) as entries:  # one more than there may be is enough: a folder may hold millions
        names = (entry.name for entry in entries if entry.name not in STRAY_NAMES)
        found = set(itertools.islice(names, len(files) + 3))
    extra, missing = sorted(found - listed - {MANIFEST, CHECKSUM}), sorted(listed - found)
    if missing and not extra:
        raise BundleError(_PARTLY_COPIED.format(path, missing[0]))
    if extra:
        raise BundleError(f"{path}: {extra[0]!r} is no part of a bundle; remove it, or copy the folder again")


def _check_sizes(manifest: Manifest, path: Path) -> None:
    """Refuse sizes that no bundle has before a byte is read: a file of holes takes no space on disk."""
    golden, most = manifest.files["golden.npz"].size, _MOST_GOLDEN * 8 * (len(manifest.schema.columns) + 1) + 4096
    if golden > most:
        raise BundleError(f"{path}/{MANIFEST}: golden.npz has {golden} bytes, expected at most {most}")
    total = sum(record.size for record in manifest.files.values())
    if total > _FOLDER_LIMIT:
        raise BundleError(f"{path}/{MANIFEST}: its files have {total} bytes, a bundle has at most {_FOLDER_LIMIT}")


def _check_manifest(folder: int, data: bytes, path: Path) -> None:
    """Compare the manifest's bytes with its checksum, before anything is made of them."""
    expected = _checksum(data)
    try:
        found = read_file(folder, CHECKSUM, path, len(expected))
    except BundleError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        refuse_other_version(data, f"{path}/{MANIFEST}")  # bundles had no such file before format 4
        raise BundleError(_PARTLY_COPIED.format(path, CHECKSUM)) from error
    if found != expected:
        raise BundleError(
            f"{path}/{MANIFEST}: its sha256 starts {expected[:12].decode()}, {CHECKSUM} says otherwise; one of the two "
            "was changed after export or only partly copied. Copy the folder again"
        )


def _checksum(manifest: bytes) -> bytes:
    """The line that ``sha256sum manifest.json`` prints."""
    return f"{hashlib.sha256(manifest).hexdigest()}  {MANIFEST}\n".encode()


def _check_digest(data: bytes, record: FileRecord, where: str) -> None:
    actual = hashlib.sha256(data).hexdigest()
    if len(data) != record.size or actual != record.sha256:
        raise BundleError(
            f"{where}: {len(data)} bytes with sha256 {actual[:12]}, {MANIFEST} expects {record.size} with "
            f"{record.sha256[:12]}; the file was changed after export or only partly copied. Copy the folder again"
        )
