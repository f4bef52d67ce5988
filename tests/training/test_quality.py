"""AUROC and average precision, with anomalies as the positive class."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.training.quality import detection_quality


def test_low_scores_mark_anomalies():
    """3 of the 4 pairs are in the right order; the anomalies rank 1st and 3rd of 4."""
    quality = detection_quality(np.array([3.0, 1.0]), np.array([0.0, 2.0]))
    assert quality.auroc == pytest.approx(0.75)
    assert quality.average_precision == pytest.approx((1 / 1 + 2 / 3) / 2)
