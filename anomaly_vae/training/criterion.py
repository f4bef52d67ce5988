"""The model selection criterion of the search: detection of synthetic anomalies. It needs no labels.

The held-out likelihood is a poor criterion: a model with a very narrow density in a few columns has a high likelihood,
but finds few anomalies. So anomalies are made from held-out rows, and the criterion is the AUROC that separates them.
"""

from __future__ import annotations

import numpy as np
import torch

from anomaly_vae.arrays import FloatArray
from anomaly_vae.assessment import detection_quality
from anomaly_vae.columns.schema import Schema
from anomaly_vae.training.data import Data, load_rows
from anomaly_vae.training.fit import FittedModel

__all__ = ["criterion", "shuffle_cells"]

# Shares of a row's cells that are replaced by cells of other rows, from hard to easy anomalies. Chosen, not measured.
_SHARES = (0.15, 0.3, 0.6)

# Held-out rows at most, and samples per row for log p(x). Chosen, not measured: more of them make the criterion more
# exact, but the search slower.
_MAX_ROWS = 1000
_NUM_SAMPLES = 64

# Rows per pass through the networks. It bounds the memory to 128 * 64 decoded points. Chosen, not measured.
_ROWS_PER_PASS = 128

# Fewer held-out rows than this give no useful AUROC; the criterion is then 0.5 for every model. Chosen, not measured.
_MIN_ROWS = 4


def criterion(model: FittedModel, schema: Schema, held_out: FloatArray, seed: int) -> float:
    """Return the mean AUROC of held-out rows against the same rows with shuffled cells; higher is better.

    Args:
        model: The model.
        schema: The columns.
        held_out: Rows in data units, shape (N, D).
        seed: Of the shuffles and of the samples; equal for all models that are compared.
    """
    rng = np.random.default_rng([seed, 3])
    rows = held_out[:_MAX_ROWS]
    if len(rows) < _MIN_ROWS:
        return 0.5
    normal = _log_px(model, rows, seed)
    aurocs = [
        detection_quality(normal, _log_px(model, shuffle_cells(rows, schema, share, rng), seed)).auroc
        for share in _SHARES
    ]
    return float(np.mean(aurocs))


def shuffle_cells(rows: FloatArray, schema: Schema, share: float, rng: np.random.Generator) -> FloatArray:
    """Return the rows with random cells replaced by cells of the same column from other rows.

    Each modelled cell is replaced with probability ``share``, and at least one cell in every row.
    """
    changed = rows.copy()
    modelled = schema.modelled
    chosen = rng.random((len(rows), len(modelled))) < share
    chosen[np.arange(len(rows)), rng.integers(len(modelled), size=len(rows))] = True
    for j, d in enumerate(modelled):
        other = (np.arange(len(rows)) + rng.integers(1, len(rows), size=len(rows))) % len(rows)
        changed[chosen[:, j], d] = rows[other[chosen[:, j]], d]
    return changed


@torch.no_grad()
def _log_px(model: FittedModel, rows: FloatArray, seed: int) -> FloatArray:
    """Return log p(x) up to a constant, nats, by importance sampling from q(z|x) with one point set for all rows."""
    vae, data = model.vae, load_rows(model.features, rows, torch.device("cpu"))
    points = torch.randn(_NUM_SAMPLES, vae.latent_dim, generator=torch.Generator().manual_seed(seed))
    passes = [slice(i, i + _ROWS_PER_PASS) for i in range(0, len(rows), _ROWS_PER_PASS)]
    parts = [_log_weight_sum(model, Data(data.x[chosen], data.mask[chosen]), points) for chosen in passes]
    return np.asarray(torch.cat(parts).double().numpy() + model.features.encode(rows).base)


def _log_weight_sum(model: FittedModel, data: Data, points: torch.Tensor) -> torch.Tensor:
    """Return the log of the summed importance weights, without constants, nats in model units, shape (N,)."""
    loc, log_var = model.vae.encoder(*data)
    scale = torch.exp(0.5 * log_var)
    log_q = -0.5 * (points**2).sum(-1) - torch.log(scale).sum(-1, keepdim=True)
    return torch.logsumexp(model.vae.log_joint(*data, loc, scale, points) - log_q, dim=-1)
