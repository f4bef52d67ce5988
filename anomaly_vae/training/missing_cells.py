"""Fit the adjustment that makes scores of rows with missing cells comparable with those of complete rows.

It is measured on calibration rows with cells removed at random.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.adjustment import Adjustment, Level, quantile_map
from anomaly_vae.columns.features import Features
from anomaly_vae.columns.schema import Schema
from anomaly_vae.columns.shapes import ImageShape
from anomaly_vae.density.estimator import DensityEstimator, Precision

__all__ = ["fit_adjustment"]

# Shares of the modelled cells that are missing in the rows behind each quantile map. Chosen, not measured; a row is
# scored with the map of the nearest number of missing cells.
_SHARES = (0.1, 0.25, 0.45, 0.75)

# Rows behind each map, at most. Chosen, not measured: more rows make calibration slower.
_MAX_ROWS = 1000

# With fewer rows than this no map is fitted. Chosen, not measured.
_MIN_ROWS = 10


def fit_adjustment(
    estimator: DensityEstimator, train: FloatArray, calibration: FloatArray, precision: Precision, seed: int
) -> Adjustment:
    """Fit the parts to training rows and the quantile maps to calibration rows.

    Args:
        estimator: The model.
        train, calibration: Rows in data units, NaN where a cell is missing.
        precision: Of the scores.
        seed: Of the choice of the cells to remove.
    """
    rng = np.random.default_rng([seed, 2])
    features = estimator.members[0].features
    schema = features.schema
    parts_only = Adjustment(parts=_parts(features, train))
    if len(parts_only.parts) == 1 or isinstance(schema.shape, ImageShape):
        return parts_only  # images have no missing pixels
    levels = _levels(estimator, schema, calibration, parts_only, precision, rng)
    return Adjustment(parts=parts_only.parts, levels=levels)


def _parts(features: Features, rows: FloatArray) -> tuple[float, ...]:
    """Return b_d of :class:`Adjustment` for each modelled column, nats in data units."""
    units = [features.unit_log_density(m) for m in range(len(features.schema.modelled))]
    return tuple(_mean_log_prob(features.levels_of(m, rows)) if unit is None else unit for m, unit in enumerate(units))


def _mean_log_prob(values: FloatArray) -> float:
    """Return the mean log of the values' relative frequencies, minus their entropy, nats."""
    _, counts = np.unique(values, return_counts=True)
    frequencies = counts / counts.sum()
    return float((frequencies * np.log(frequencies)).sum())


def _levels(
    estimator: DensityEstimator,
    schema: Schema,
    rows: FloatArray,
    parts_only: Adjustment,
    precision: Precision,
    rng: np.random.Generator,
) -> tuple[Level, ...]:
    """Return one map for each number of missing cells.

    A map compares the scores of the same rows before and after cells are removed. Rows that already miss more cells
    than its number are left out.
    """
    num_columns = len(schema.modelled)
    rows = rows[rng.permutation(len(rows))[:_MAX_ROWS]]
    if len(rows) < _MIN_ROWS:
        return ()
    missing = np.isnan(rows[:, schema.modelled])
    num_missing = missing.sum(axis=1)
    typical = int(np.median(num_missing))
    whole = parts_only.forward(estimator.estimate(rows, precision).log_px, missing)
    counts = sorted({min(max(round(share * num_columns), 1), num_columns - 1) for share in _SHARES})
    levels = []
    for count in counts:
        usable = num_missing <= count
        if count > typical and usable.sum() >= _MIN_ROWS:
            gaps = _add_missing(missing[usable], count, rng)
            masked = estimator.estimate(_remove_cells(rows[usable], schema, gaps), precision).log_px
            levels.append(quantile_map(parts_only.forward(masked, gaps), whole[usable], count))
    return tuple(levels)


def _add_missing(missing: NDArray[np.bool_], count: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return the missing cells of rows with others added at random, so that each row misses ``count`` cells."""
    order = rng.random(missing.shape) - missing  # missing cells get negative values, so they come first
    return np.asarray(order.argsort(axis=1).argsort(axis=1) < count)


def _remove_cells(rows: FloatArray, schema: Schema, hidden: NDArray[np.bool_]) -> FloatArray:
    """Return the rows with the hidden modelled cells set to NaN."""
    rows = rows.copy()
    modelled = rows[:, schema.modelled]
    modelled[hidden] = np.nan
    rows[:, schema.modelled] = modelled
    return rows
