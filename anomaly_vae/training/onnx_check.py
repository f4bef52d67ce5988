"""Compare the exported networks with the trained ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from anomaly_vae.arrays import FloatArray
from anomaly_vae.bundle.golden import GOLDEN_TOLERANCE
from anomaly_vae.density.ensemble import log_mean_exp
from anomaly_vae.density.estimator import DensityEstimator
from anomaly_vae.errors import GateFailed
from anomaly_vae.training.vae import VAE

__all__ = ["check_onnx", "log_px_in_float64"]

# Cells times samples that are decoded at once in the comparison of ONNX and torch. Chosen, not measured: with
# convolutions each takes about 100 bytes.
_CELLS_AT_ONCE = 2**21


def check_onnx(vaes: Sequence[VAE], estimator: DensityEstimator, rows: FloatArray, num_samples: int) -> float:
    """Return the largest relative difference of log p(x) between the exported networks and torch in float64.

    Raises:
        GateFailed: The difference is above the tolerance.
    """
    expected = log_px_in_float64(vaes, estimator, rows, num_samples)
    actual = estimator.plain_log_px(rows, num_samples)
    worst = float(estimator.relative_difference(rows, actual, expected).max())
    if not worst <= GOLDEN_TOLERANCE:
        raise GateFailed(
            f"log p(x) from ONNX in float32 differs from torch in float64 by {worst:.2g} (relative), "
            f"at most {GOLDEN_TOLERANCE:g} is allowed; check the columns for extreme values"
        )
    return worst


@torch.no_grad()
def log_px_in_float64(
    vaes: Sequence[VAE], estimator: DensityEstimator, rows: FloatArray, num_samples: int
) -> FloatArray:
    """Return plain log p(x) from the trained weights with torch in float64, nats in data units, shape (N,).

    It uses the noise of the estimator, so it may differ from the exported networks by rounding only.
    """
    log_px = []
    for m, (vae, member) in enumerate(zip(map(VAE.in_float64, vaes), estimator.members, strict=True)):
        inputs = member.features.encode(rows)
        points = torch.as_tensor(estimator.points(num_samples // len(estimator.members), m).astype(np.float64))
        at_once = max(_CELLS_AT_ONCE // (len(points) * inputs.x.shape[1]), 1)
        parts = []
        for start in range(0, len(rows), at_once):
            x, mask = (torch.as_tensor(values[start : start + at_once]) for values in (inputs.x, inputs.mask))
            loc, log_var = vae.encoder(x, mask)
            scale = torch.exp(0.5 * log_var)
            log_q = -0.5 * (math.log(2.0 * math.pi) + points**2).sum(-1) - torch.log(scale).sum(-1, keepdim=True)
            log_weights = vae.log_joint(x, mask, loc, scale, points) - log_q
            parts.append(torch.logsumexp(log_weights, dim=-1) - math.log(len(points)))
        log_px.append(torch.cat(parts).numpy() + inputs.base)
    return log_mean_exp(np.stack(log_px))
