"""The golden rows of a bundle: sampled from the model at export, scored again at every load."""

from __future__ import annotations

import numpy as np

from anomaly_vae.bundle.files import Bundle
from anomaly_vae.bundle.manifest import Estimator
from anomaly_vae.density.contrast import Contrast
from anomaly_vae.density.estimator import DensityEstimator
from anomaly_vae.errors import BundleError

__all__ = ["GOLDEN_TOLERANCE", "check_golden", "golden_samples"]

# Samples behind the golden score of a row, at most. Chosen, not measured: more make loading slower.
_MOST_SAMPLES = 1024

# Largest allowed relative difference of log p(x) between two machines, or between onnxruntime and torch; see
# DensityEstimator.relative_difference. Chosen, not measured: a smaller value refuses the rounding of other machines, a
# larger one misses small faults.
GOLDEN_TOLERANCE = 1e-4


def golden_samples(estimator: Estimator) -> int:
    """Return the samples behind the golden scores of a row."""
    return min(_MOST_SAMPLES, estimator.num_samples)


def check_golden(bundle: Bundle, estimator: DensityEstimator, contrast: Contrast | None = None) -> None:
    """Raise BundleError if the networks do not reproduce the exported scores and contrasts of the golden rows."""
    rows, budget = bundle.golden_rows, golden_samples(bundle.manifest.estimator)
    if bundle.manifest.schema.is_novel(rows).any():
        raise BundleError(
            "golden.npy: a constant column has another value than in manifest.json; one of the two was changed"
        )
    actual = estimator.plain_log_px(rows, budget)
    mismatch = estimator.joint_mismatch(rows)
    difference = estimator.relative_difference(rows, actual, bundle.golden_log_px)
    if not np.all(difference <= GOLDEN_TOLERANCE):
        raise BundleError(
            f"golden.npy: log p(x) of its rows differs by up to {difference.max():.2g} (relative) from "
            f"what was exported, at most {GOLDEN_TOLERANCE:g} is allowed; these are not the exported networks, "
            "or onnxruntime computes differently here"
        )
    if not mismatch <= GOLDEN_TOLERANCE:
        raise BundleError(
            f"decoder.onnx: does not fit the other graphs, log p(x, z) differs by {mismatch:.2g} (relative); "
            "they come from different models"
        )
    if contrast is not None and bundle.golden_contrast is not None:
        expected = bundle.golden_contrast
        differences = np.abs(contrast.of_rows(rows) - expected) / np.maximum(1.0, np.abs(expected))
        if not np.all(differences <= GOLDEN_TOLERANCE):
            raise BundleError(
                f"golden.npy: the contrast of its rows differs by up to {differences.max():.2g} (relative) from what "
                f"was exported, at most {GOLDEN_TOLERANCE:g} is allowed; contrast.onnx is of another model, or "
                "onnxruntime computes differently here"
            )
