"""The arrays of a bundle: read from the bytes of their files, and checked against the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.bundle.manifest import Manifest
from anomaly_vae.bundle.npy import parse_npy
from anomaly_vae.calibration import Calibration, threshold_at_rank
from anomaly_vae.errors import BundleError

__all__ = ["ARRAYS", "CONTRAST_ARRAY", "MANIFEST", "BundleArrays", "most_golden_bytes", "parse_arrays"]

MANIFEST = "manifest.json"
ARRAYS, CONTRAST_ARRAY = ("noise.npy", "calibration.npy", "golden.npy"), "contrast.npy"

# Points per scrambling and golden rows that a bundle may hold. Training writes 256 and 16. The limits are chosen, not
# measured.
_MOST_POINTS = 4096
_MOST_GOLDEN = 256

# The header of a .npy file is shorter than this, bytes.
_NPY_HEADER_LIMIT = 4096

_CHANGED = "the file was changed after export"


class BundleArrays(NamedTuple):
    """Fields of :class:`anomaly_vae.bundle.files.Bundle`."""

    noise: NDArray[np.float32]
    calibration: FloatArray
    golden_rows: FloatArray
    golden_log_px: FloatArray
    contrast: FloatArray | None
    golden_contrast: FloatArray | None


def parse_arrays(manifest: Manifest, files: Mapping[str, bytes], where: str) -> BundleArrays:
    """Parse the arrays and check that they fit the manifest and each other.

    Args:
        manifest: The manifest.
        files: Bytes by file name.
        where: Name of the bundle in messages.

    Raises:
        BundleError: An array has another type, shape or order, or holds NaN or an infinity.
    """
    noise = parse_npy(files["noise.npy"], np.dtype("<f4"), 3, f"{where}/noise.npy")
    calibration = parse_npy(files["calibration.npy"], np.dtype("<f8"), 1, f"{where}/calibration.npy")
    golden = parse_npy(files["golden.npy"], np.dtype("<f8"), 2, f"{where}/golden.npy")
    _check_noise(manifest, noise, where)
    contrast, width = None, len(manifest.schema.columns)
    _check_calibration(manifest.calibration, calibration, where)
    if manifest.contrast is not None:
        contrast = parse_npy(files[CONTRAST_ARRAY], np.dtype("<f8"), 1, f"{where}/{CONTRAST_ARRAY}")
        _check_contrast(manifest.calibration, contrast, where)
    _check_golden_shape(golden, width + _golden_results(manifest), where)
    return BundleArrays(
        noise=noise,
        calibration=calibration,
        golden_rows=np.ascontiguousarray(golden[:, :width]),
        golden_log_px=np.ascontiguousarray(golden[:, width]),
        contrast=contrast,
        golden_contrast=None if contrast is None else np.ascontiguousarray(golden[:, -1]),
    )


def most_golden_bytes(manifest: Manifest) -> int:
    """Return the most bytes that golden.npy may have."""
    return _MOST_GOLDEN * 8 * (len(manifest.schema.columns) + _golden_results(manifest)) + _NPY_HEADER_LIMIT


def _golden_results(manifest: Manifest) -> int:
    """Return the number of columns of golden.npy after those of the rows."""
    return 1 if manifest.contrast is None else 2


def _require(holds: bool, where: str, name: str, rule: str) -> None:
    if not holds:
        raise BundleError(f"{where}/{name}: {rule}; {_CHANGED}")


def _check_noise(manifest: Manifest, noise: NDArray[np.float32], where: str) -> None:
    scramblings, points, latent_dim = noise.shape
    estimator = manifest.estimator
    expected_dim = 1 + max(member.architecture.latent_dim for member in manifest.members)
    is_power_of_two = points > 0 and points & (points - 1) == 0
    _require(
        (scramblings, latent_dim) == (estimator.scramblings, expected_dim)
        and is_power_of_two
        and points <= _MOST_POINTS,
        where,
        "noise.npy",
        f"has shape {noise.shape}, expected ({estimator.scramblings}, n, {expected_dim}) with n a "
        f"power of two up to {_MOST_POINTS}",
    )
    _require(
        scramblings * points >= estimator.num_samples,
        where,
        "noise.npy",
        f"holds {scramblings * points} points, estimator.num_samples is {estimator.num_samples}",
    )


def _check_calibration(calibration: Calibration, scores: FloatArray, where: str) -> None:
    num_scores = calibration.num_rows - calibration.num_novel
    _require(
        len(scores) == num_scores,
        where,
        "calibration.npy",
        f"holds {len(scores)} scores, the manifest says {num_scores}",
    )
    _require(bool(np.all(scores[1:] >= scores[:-1])), where, "calibration.npy", "is not sorted")
    _require(
        calibration.threshold == threshold_at_rank(scores, calibration.num_novel, calibration.rank),
        where,
        MANIFEST,
        f"calibration.threshold is not the score of rank {calibration.rank}",
    )
    upper = calibration.upper_threshold
    _require(
        upper is None or upper == scores[-calibration.rank],
        where,
        MANIFEST,
        f"calibration.upper_threshold is not the score of rank {calibration.rank} from the highest",
    )


def _check_contrast(calibration: Calibration, contrast: FloatArray, where: str) -> None:
    _require(
        len(contrast) == calibration.num_rows,
        where,
        CONTRAST_ARRAY,
        f"holds {len(contrast)} contrasts, the manifest says {calibration.num_rows}",
    )
    _require(bool(np.all(contrast[1:] >= contrast[:-1])), where, CONTRAST_ARRAY, "is not sorted")
    rank = calibration.contrast_rank or 1
    _require(
        calibration.contrast_threshold == float(contrast[rank - 1]),
        where,
        MANIFEST,
        f"calibration.contrast_threshold is not the contrast of rank {rank}",
    )


def _check_golden_shape(golden: FloatArray, width: int, where: str) -> None:
    _require(
        golden.shape[1] == width and 0 < len(golden) <= _MOST_GOLDEN,
        where,
        "golden.npy",
        f"has shape {golden.shape}, expected (n, {width}) with n up to {_MOST_GOLDEN}",
    )
