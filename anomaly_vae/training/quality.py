"""Detection quality of scores on rows with known labels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from anomaly_vae.arrays import FloatArray

__all__ = ["DetectionQuality", "detection_quality"]


class DetectionQuality(NamedTuple):
    """AUROC and average precision, with anomalies as the positive class."""

    auroc: float
    average_precision: float


def detection_quality(normal: FloatArray, anomalous: FloatArray) -> DetectionQuality:
    """Return the detection quality of log p(x) of normal and of anomalous rows, each of shape (N,)."""
    # Only here, so that a training without labels does not import joblib, which makes a semaphore in /dev/shm.
    from sklearn.metrics import average_precision_score, roc_auc_score

    truth = np.repeat([0, 1], [len(normal), len(anomalous)])
    badness = -np.concatenate([normal, anomalous])
    return DetectionQuality(float(roc_auc_score(truth, badness)), float(average_precision_score(truth, badness)))
