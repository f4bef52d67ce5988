"""How rows with missing cells compare with complete ones, measured on rows with cells taken out at random."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.adjustment import Adjustment, average_parts, quantile_map
from anomaly_vae.densities import FloatArray
from anomaly_vae.estimator import DensityEstimator
from anomaly_vae.schema import Schema

__all__ = ["fit_adjustment"]

# Shares of the modelled cells that are taken out for the maps.
_SHARES = (0.1, 0.2, 0.35, 0.5, 0.7, 0.9)

# Rows and samples behind each map: an error of 0.1 nats there is far below the spread of scores.
_MOST_ROWS, _NUM_SAMPLES, _ERROR = 1000, 256, 0.1

# Fewest rows for which a map is better than none.
_FEWEST_ROWS = 10

# Masked copies of held-out rows behind the average parts, for each column.
_COPIES = 20
_MOST_COPIES = 4000


def fit_adjustment(
    estimator: DensityEstimator, schema: Schema, held_out: FloatArray, calibration: FloatArray, seed: int
) -> Adjustment:
    """Fit the parts to held-out rows, the maps to calibration rows.

    Args:
        estimator: The model.
        schema: Its columns.
        held_out, calibration: Rows in data units, NaN where a cell is missing anyway.
        seed: Of which cells are taken out.
    """
    rng = np.random.default_rng([seed, 2])
    num_columns = len(schema.modelled)
    if num_columns == 1:
        return Adjustment(parts=(0.0,))
    parts = _parts(estimator, schema, held_out, rng)
    bare = Adjustment(parts=tuple(parts.tolist()))
    levels = _levels(estimator, schema, calibration, bare, rng)
    return Adjustment(parts=bare.parts, levels=levels)


def _parts(
    estimator: DensityEstimator, schema: Schema, rows: FloatArray, rng: np.random.Generator
) -> FloatArray:
    num_columns = len(schema.modelled)
    copies = min(max(_COPIES * num_columns, len(rows)), _MOST_COPIES)
    chosen = rows[np.arange(copies) % len(rows)]
    rate = rng.uniform(0.05, 0.6, size=(copies, 1))
    hidden = rng.random((copies, num_columns)) < rate
    budget = _budget(estimator)
    whole = estimator.estimate(rows, budget, _ERROR).log_px[np.arange(copies) % len(rows)]
    masked = estimator.estimate(_without(chosen, schema, hidden), budget, _ERROR).log_px
    there = ~np.isnan(chosen[:, schema.modelled])
    return average_parts(whole, masked, hidden & there)


def _levels(
    estimator: DensityEstimator, schema: Schema, rows: FloatArray, bare: Adjustment, rng: np.random.Generator
) -> tuple:
    """A map for each number of missing cells, from the rows that have fewer of them."""
    num_columns = len(schema.modelled)
    rows = rows[~schema.is_novel(rows)]
    rows = rows[rng.permutation(len(rows))[:_MOST_ROWS]]
    missing = np.isnan(rows[:, schema.modelled])
    typical = int(np.median(missing.sum(axis=1))) if len(rows) else 0
    budget = _budget(estimator)
    counts = sorted({min(max(round(share * num_columns), 1), num_columns - 1) for share in _SHARES})
    levels = []
    for count in counts:
        usable = rows[missing.sum(axis=1) <= count]
        if count <= typical or len(usable) < _FEWEST_ROWS:
            continue
        gaps = _grown(missing[missing.sum(axis=1) <= count], count, rng)
        masked = estimator.estimate(_without(usable, schema, gaps), budget, _ERROR).log_px
        before = missing[missing.sum(axis=1) <= count]
        whole = bare.forward(estimator.estimate(usable, budget, _ERROR).log_px, before)
        levels.append(quantile_map(bare.forward(masked, gaps), whole, count))
    return tuple(levels)


def _grown(missing: NDArray[np.bool_], count: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Rows' missing cells, and others at random, so that each row misses so many."""
    order = rng.random(missing.shape) - missing  # those that are missing come first
    return np.asarray(order.argsort(axis=1).argsort(axis=1) < count)


def _without(rows: FloatArray, schema: Schema, hidden: NDArray[np.bool_]) -> FloatArray:
    rows = rows.copy()
    modelled = rows[:, schema.modelled]
    modelled[hidden] = np.nan
    rows[:, schema.modelled] = modelled
    return rows


def _budget(estimator: DensityEstimator) -> int:
    return max(budget for budget in estimator.budgets if budget <= max(_NUM_SAMPLES, estimator.budgets[0]))
