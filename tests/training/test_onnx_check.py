"""The comparison of the exported networks with the trained ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from anomaly_vae.errors import GateFailed
from anomaly_vae.training import onnx_check
from anomaly_vae.training.pipeline import train_model
from tests.support.data import NAMES, make_rows
from tests.support.training import QUICK_GAUSSIAN


def test_a_model_that_onnx_computes_differently_is_not_released(monkeypatch):
    monkeypatch.setattr(onnx_check, "log_px_in_float64", lambda _vaes, _est, rows, _num: np.full(len(rows), 1e9))
    with pytest.raises(GateFailed, match="differs from torch in float64"):
        train_model(make_rows(200), NAMES, replace(QUICK_GAUSSIAN, target_fpr=0.2))
