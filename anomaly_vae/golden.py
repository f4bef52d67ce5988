"""The golden rows of a bundle: sampled from the model at export, and scored again at every load."""

from __future__ import annotations

import numpy as np

from anomaly_vae.bundle import Bundle
from anomaly_vae.errors import BundleError
from anomaly_vae.estimator import DensityEstimator

__all__ = ["GOLDEN_TOLERANCE", "check_golden"]

# Two machines, or onnxruntime and torch, may differ by this much: see DensityEstimator.relative_difference.
GOLDEN_TOLERANCE = 1e-4


def check_golden(bundle: Bundle, estimator: DensityEstimator) -> None:
    """Raise BundleError where the networks do not give the golden rows what was exported."""
    rows, budget = bundle.golden_rows, bundle.manifest.estimator.num_samples
    if bundle.manifest.schema.is_novel(rows).any():
        raise BundleError("golden.npz: a constant column has another value than in manifest.json; one was changed")
    actual = estimator.plain_log_px(rows, budget)
    mismatch = estimator.joint_mismatch(rows)
    difference = estimator.relative_difference(rows, actual, bundle.golden_log_px)
    if not np.all(difference <= GOLDEN_TOLERANCE):
        raise BundleError(
            f"golden.npz: log p(x) of its rows differs by up to {difference.max():.2g} (relative) from "
            f"what was exported, at most {GOLDEN_TOLERANCE:g} is allowed; these are not the exported networks, "
            "or onnxruntime computes differently here"
        )
    if not mismatch <= GOLDEN_TOLERANCE:
        raise BundleError(
            f"decoder.onnx: does not fit log_joint.onnx, log p(x, z) differs by {mismatch:.2g} (relative); "
            "they are of different models"
        )
