"""Release gates: what a trained model must pass before it is exported."""

from __future__ import annotations

import math

import numpy as np
import torch

from anomaly_vae.densities import FloatArray
from anomaly_vae.errors import GateFailed
from anomaly_vae.estimator import DensityEstimator
from anomaly_vae.scorer import GOLDEN_TOLERANCE
from anomaly_vae.training.vae import VAE

__all__ = ["check_onnx", "log_px_in_float64"]


def check_onnx(vae: VAE, estimator: DensityEstimator, rows: FloatArray, num_samples: int) -> float:
    """The largest relative difference of log p(x) between the exported networks and torch in float64.

    Raises:
        GateFailed: It is above the tolerance.
    """
    expected = log_px_in_float64(vae, estimator, rows, num_samples)
    actual = estimator.plain_log_px(rows, num_samples)
    worst = float(estimator.relative_difference(actual, expected).max())
    if not worst <= GOLDEN_TOLERANCE:
        raise GateFailed(
            f"log p(x) from ONNX in float32 differs from torch in float64 by {worst:.2g} (relative), "
            f"at most {GOLDEN_TOLERANCE:g} is allowed; look for columns with extreme values"
        )
    return worst


@torch.no_grad()
def log_px_in_float64(vae: VAE, estimator: DensityEstimator, rows: FloatArray, num_samples: int) -> FloatArray:
    """The estimator's plain log p(x) from the trained weights themselves, with torch, in float64, nats, shape (N,)."""
    vae = VAE.in_float64(vae)
    x = torch.as_tensor(estimator.model_input(rows))
    mask, points = torch.ones_like(x), torch.as_tensor(estimator.points(num_samples).astype(np.float64))
    loc, log_var = vae.encoder(x, mask)
    scale = torch.exp(0.5 * log_var)
    log_q = -0.5 * (math.log(2.0 * math.pi) + points**2).sum(-1) - torch.log(scale).sum(-1, keepdim=True)
    log_weights = vae.log_joint(x, mask, loc, scale, points) - log_q
    log_px = torch.logsumexp(log_weights, dim=-1) - math.log(len(points))
    return np.asarray(log_px.numpy() + estimator.transform.log_abs_det)
