"""Tangents of one row and of all rows."""

from __future__ import annotations

import pytest
import torch

from anomaly_vae.training.tangents import Tangents


def test_only_tangents_of_rows_have_a_value():
    assert Tangents("v3").by_row() == "v3"
    with pytest.raises(TypeError, match="starts with Linear and an activation"):
        Tangents("", torch.eye(2)).by_row()
