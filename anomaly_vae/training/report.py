"""How well scores separate rows whose labels are known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from anomaly_vae.densities import FloatArray

__all__ = ["DetectionQuality", "detection_quality"]


class DetectionQuality(NamedTuple):
    """Areas under the ROC and the precision-recall curve, anomalies the positive class."""

    auroc: float
    average_precision: float


def detection_quality(normal: FloatArray, anomalous: FloatArray) -> DetectionQuality:
    """Compare log p(x) of normal and of anomalous rows, each of shape (N,), higher more normal."""
    truth = np.repeat([0, 1], [len(normal), len(anomalous)])
    badness = -np.concatenate([normal, anomalous])
    return DetectionQuality(float(roc_auc_score(truth, badness)), float(average_precision_score(truth, badness)))
