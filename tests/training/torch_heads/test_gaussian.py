"""The Gaussian head in training."""

from __future__ import annotations

import math

import numpy as np
import torch

from anomaly_vae.training.torch_heads import STD_FLOOR
from tests.support.training import gaussian_part, small_vae


def test_the_variance_has_a_floor():
    """A column that the decoder predicts exactly must not have an infinite density."""
    vae = small_vae()
    with torch.no_grad():
        gaussian_part(vae).raw_log_var.fill_(-100.0)
    np.testing.assert_allclose(gaussian_part(vae).log_var.detach(), 2 * math.log(STD_FLOOR), rtol=1e-6)
