"""How well a model tells rows from what they might have been: a criterion for the search that needs no labels.

Held-out likelihood alone misleads: a model that is very sure of a few columns has a high one, and finds few anomalies.
So anomalies are made from held-out rows, and what counts is how far down they rank.
"""

from __future__ import annotations

import numpy as np
import torch

from anomaly_vae.densities import FloatArray
from anomaly_vae.schema import Schema
from anomaly_vae.training.data import Data, load
from anomaly_vae.training.fitting import Fitted

__all__ = ["criterion", "shuffled_cells"]

# Shares of a row's cells that are taken from other rows.
_SHARES = (0.15, 0.3, 0.6)

_MOST_ROWS, _SAMPLES, _FEWEST_ROWS = 1000, 64, 4


def criterion(model: Fitted, schema: Schema, held_out: FloatArray, seed: int) -> float:
    """Mean area under the ROC curve of held-out rows against themselves with some cells of other rows."""
    rng = np.random.default_rng([seed, 3])
    rows = held_out[:_MOST_ROWS]
    if len(rows) < _FEWEST_ROWS:
        return 0.5
    normal = _log_px(model, rows, seed)
    areas = [_area(normal, _log_px(model, shuffled_cells(rows, schema, share, rng), seed)) for share in _SHARES]
    return float(np.mean(areas))


def shuffled_cells(rows: FloatArray, schema: Schema, share: float, rng: np.random.Generator) -> FloatArray:
    """Rows with at least one, and about so many, of their modelled cells replaced by those of other rows."""
    changed = rows.copy()
    modelled = schema.modelled
    chosen = rng.random((len(rows), len(modelled))) < share
    chosen[np.arange(len(rows)), rng.integers(len(modelled), size=len(rows))] = True
    for j, d in enumerate(modelled):
        other = (np.arange(len(rows)) + rng.integers(1, len(rows), size=len(rows))) % len(rows)
        changed[chosen[:, j], d] = rows[other[chosen[:, j]], d]
    return changed


@torch.no_grad()
def _log_px(model: Fitted, rows: FloatArray, seed: int) -> FloatArray:
    """Plain importance sampling in model units; what differs between units is the same for all rows, or in base."""
    vae, data = model.vae, load(model.features, rows, torch.device("cpu"))
    points = torch.randn(_SAMPLES, vae.latent_dim, generator=torch.Generator().manual_seed(seed))
    parts = [_block(model, Data(data.x[i : i + 128], data.mask[i : i + 128]), points) for i in range(0, len(rows), 128)]
    return np.asarray(torch.cat(parts).double().numpy() + model.features.encode(rows).base)


def _block(model: Fitted, data: Data, points: torch.Tensor) -> torch.Tensor:
    loc, log_var = model.vae.encoder(*data)
    scale = torch.exp(0.5 * log_var)
    log_q = -0.5 * (points**2).sum(-1) - torch.log(scale).sum(-1, keepdim=True)
    return torch.logsumexp(model.vae.log_joint(*data, loc, scale, points) - log_q, dim=-1)


def _area(normal: FloatArray, anomalous: FloatArray) -> float:
    """Share of pairs in which the anomaly has the lower score."""
    order = np.sort(normal)
    below = np.searchsorted(order, anomalous, side="left") + np.searchsorted(order, anomalous, side="right")
    return float(1.0 - 0.5 * below.mean() / len(order))
