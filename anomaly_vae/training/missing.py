"""How rows with missing cells compare with complete ones, measured on rows with cells taken out at random."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.adjustment import Adjustment, Level, quantile_map
from anomaly_vae.densities import FloatArray
from anomaly_vae.estimator import DensityEstimator
from anomaly_vae.features import Features
from anomaly_vae.schema import Schema

__all__ = ["fit_adjustment"]

# Shares of the modelled cells that are taken out for the maps.
_SHARES = (0.1, 0.25, 0.45, 0.75)

# Rows behind each map, and the error of their scores, nats: far below their spread.
_MOST_ROWS, _ERROR = 1000, 0.1

# Samples of a first look, and the share of the rows, the lowest, that get a second one.
_FEW, _LOW = 64, 0.15

# Fewest rows for which a map is better than none.
_FEWEST_ROWS = 10


def fit_adjustment(
    estimator: DensityEstimator, seen: FloatArray, calibration: FloatArray, num_samples: int, seed: int
) -> Adjustment:
    """Fit the parts to rows of the training, the maps to calibration rows.

    Args:
        estimator: The model.
        seen, calibration: Rows in data units, NaN where a cell is missing anyway.
        num_samples: The budget of a row, as for any other.
        seed: Of which cells are taken out.
    """
    rng = np.random.default_rng([seed, 2])
    features = estimator.members[0].features
    schema = features.schema
    bare = Adjustment(parts=_parts(features, seen))
    if len(bare.parts) == 1:
        return bare
    levels = _levels(estimator, schema, calibration, bare, num_samples, rng)
    return Adjustment(parts=bare.parts, levels=levels)


def _parts(features: Features, rows: FloatArray) -> tuple[float, ...]:
    """b_d of each modelled column."""
    parts = np.empty(len(features.schema.modelled))
    for m, d in enumerate(features.schema.modelled):
        values = rows[:, d][~np.isnan(rows[:, d])]
        unit = features.log_unit(m)
        parts[m] = _mean_log_prob(values) if unit is None else unit
    return tuple(parts.tolist())


def _mean_log_prob(values: FloatArray) -> float:
    """Minus the entropy of what values there are, nats."""
    _, counts = np.unique(values, return_counts=True)
    shares = counts / counts.sum()
    return float((shares * np.log(shares)).sum())


def _levels(
    estimator: DensityEstimator,
    schema: Schema,
    rows: FloatArray,
    bare: Adjustment,
    budget: int,
    rng: np.random.Generator,
) -> tuple[Level, ...]:
    """A map for each number of missing cells, from the rows that have fewer of them."""
    num_columns = len(schema.modelled)
    rows = rows[~schema.is_novel(rows)]
    rows = rows[rng.permutation(len(rows))[:_MOST_ROWS]]
    if len(rows) < _FEWEST_ROWS:
        return ()
    missing = np.isnan(rows[:, schema.modelled])
    num_missing = missing.sum(axis=1)
    typical = int(np.median(num_missing))
    whole = bare.forward(_log_px(estimator, rows, bare, missing, budget), missing)
    counts = sorted({min(max(round(share * num_columns), 1), num_columns - 1) for share in _SHARES})
    levels = []
    for count in counts:
        usable = num_missing <= count
        if count > typical and usable.sum() >= _FEWEST_ROWS:
            gaps = _grown(missing[usable], count, rng)
            masked = _log_px(estimator, _without(rows[usable], schema, gaps), bare, gaps, budget)
            levels.append(quantile_map(bare.forward(masked, gaps), whole[usable], count))
    return tuple(levels)


def _log_px(
    estimator: DensityEstimator, rows: FloatArray, bare: Adjustment, missing: NDArray[np.bool_], budget: int
) -> FloatArray:
    """log p(x), with the whole budget only where scores are low and thresholds may lie: few samples err downwards."""
    few = min((each for each in estimator.budgets if each >= _FEW), default=budget)
    log_px = estimator.estimate(rows, min(few, budget)).log_px
    score = bare.forward(log_px, missing)
    low = score <= np.quantile(score, _LOW)
    log_px[low] = estimator.estimate(rows[low], budget, _ERROR).log_px
    return log_px


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
