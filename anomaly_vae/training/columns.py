"""The columns of a model before training: the transform of each, fitted to the training rows, and its head."""

from __future__ import annotations

import math

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.cells import channel_of_cell, channel_values
from anomaly_vae.columns.heads import HEADS, ColumnModel
from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.columns.shapes import ImageShape, Shape
from anomaly_vae.columns.transforms import FAR, Standardise, Transform, YeoJohnson
from anomaly_vae.errors import InvalidInput
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.torch_heads import TORCH_HEADS, ColumnData

__all__ = ["plan_columns", "standardise", "yeo_johnson"]

# Yeo-Johnson powers that are tried for a skewed column: 0.0, 0.1, ... 2.0. The power 1.0 is the identity. The step is
# chosen, not measured.
_POWERS = tuple(round(0.1 * i, 1) for i in range(21))

# A power is used only if it raises the mean log-density of held-out values by more than 0.1 nats over the identity.
# Chosen, not measured: a smaller gain is not worth a non-linear column.
_LEAST_GAIN_NATS = 0.1

# Every fifth value is held out from the fit and judges the powers. Chosen, not measured.
_FOLDS = 5

# Kinds of columns with a head of their own.
_HEAD_OF_KIND = {"categorical": "categorical", "binary": "bernoulli", "count": "count", "cyclic": "von_mises"}

# The interquartile range of a normal distribution in standard deviations.
_IQR_OF_NORMAL = 1.349


def plan_columns(schema: Schema, rows: FloatArray, config: TrainConfig) -> tuple[ColumnModel, ...]:
    """Return one entry for each modelled column.

    Args:
        schema: The columns.
        rows: Training rows in data units, NaN where a cell is missing, shape (N, D).
        config: The options likelihood, decoder_variance and column_transform are used.

    Raises:
        ConfigError: The likelihood does not fit the values of a column.
        InvalidInput: The values of a column are so large that their variance overflows.
    """
    if schema.shape is not None:
        return _plan_cells(schema, schema.shape, rows, config)
    found = []
    for d in schema.modelled:
        values = rows[:, d][~np.isnan(rows[:, d])]
        found.append(_plan_column(schema.columns[d], values, config))
    return tuple(found)


def _plan_cells(schema: Schema, shape: Shape, rows: FloatArray, config: TrainConfig) -> tuple[ColumnModel, ...]:
    """Return one entry for each modelled cell: all cells of a channel start with the same one."""
    channels = {
        c: _plan_channel(schema.columns[c], shape, channel_values(shape, rows, c), config)
        for c in range(shape.num_channels)
        if schema.columns[c].is_modelled
    }
    return tuple(channels[channel_of_cell(shape, int(d))] for d in schema.modelled)


def _plan_channel(column: Column, shape: Shape, values: FloatArray, config: TrainConfig) -> ColumnModel:
    """Return the entry of a channel: bytes may have a head of their own, with the range of all bytes."""
    is_pixel = config.likelihood == "pixel" and column.kind == "integer"
    if not (is_pixel and isinstance(shape, ImageShape) and shape.depth == "uint8"):
        return _plan_column(column, values, config)
    transform = Standardise(center=0.5 * (shape.low + shape.high), scale=0.5 * (shape.high - shape.low))
    data = ColumnData(column, values, transform, config.decoder_variance)
    return ColumnModel(head=TORCH_HEADS["pixel"].initial(data), transform=transform)


def _plan_column(column: Column, values: FloatArray, config: TrainConfig) -> ColumnModel:
    kind = _head_kind(column, config)
    transform = _transform(column, values, config) if HEADS[kind].takes_transform else None
    data = ColumnData(column, values, transform, config.decoder_variance)
    return ColumnModel(head=TORCH_HEADS[kind].initial(data), transform=transform)


def _head_kind(column: Column, config: TrainConfig) -> str:
    """Return the kind of head: by the kind of the column, otherwise by the options."""
    by_column = _HEAD_OF_KIND.get(column.kind)
    if by_column is not None:
        return by_column
    kind = config.likelihood
    if kind not in HEADS or kind == "pixel" or (HEADS[kind].needs_grid and column.step is None):
        kind = "gaussian"
    return "conditional" if kind == "gaussian" and config.decoder_variance == "conditional" else kind


def _transform(column: Column, values: FloatArray, config: TrainConfig) -> Transform:
    line = standardise(values, column.name)
    if config.column_transform == "standardise" or column.step is not None:
        return line
    return yeo_johnson(values, line) or line


def standardise(values: FloatArray, name: str) -> Standardise:
    """Return the transform to mean 0 and standard deviation 1 of values (n,), which are not all the same.

    Values more than 20 robust standard deviations from the median are first clipped to that distance, so that one
    outlier cannot flatten its column. A robust standard deviation is the interquartile range / 1.349.

    Raises:
        InvalidInput: The values are so large that their variance overflows.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        cut = _without_outliers(values)
        center, scale = float(cut.mean()), float(cut.std())
    if not (np.isfinite(center) and np.isfinite(scale) and scale > 0.0 and np.isfinite(1.0 / scale)):
        raise InvalidInput(
            f"column {name!r} spans {values.min():g} to {values.max():g}, beyond what float64 can standardise; "
            "rescale it or take its logarithm",
            field=name,
        )
    return Standardise(center=center, scale=scale)


def yeo_johnson(values: FloatArray, line: Standardise) -> YeoJohnson | None:
    """Return the power transform with the largest Gaussian log-density of held-out values.

    Returns:
        None if its gain over the identity is too small.
    """
    held_out = np.arange(len(values)) % _FOLDS == 0
    u = np.clip(line.forward(values), -FAR, FAR)
    scores = [_log_likelihood(power, u[~held_out], u[held_out]) for power in _POWERS]
    best = int(np.argmax(scores))
    if not scores[best] > scores[_POWERS.index(1.0)] + _LEAST_GAIN_NATS:
        return None
    bent = YeoJohnson(power=_POWERS[best], origin=line.center, unit=line.scale, center=0.0, scale=1.0)
    y = bent.forward(values)
    again = standardise(y, "")
    return YeoJohnson(power=bent.power, origin=bent.origin, unit=bent.unit, center=again.center, scale=again.scale)


def _log_likelihood(power: float, fitted: FloatArray, held_out: FloatArray) -> float:
    """Return the mean log-density of held-out values under a Gaussian of the transformed values, nats.

    The density is in the units before the transform.
    """
    bend = YeoJohnson(power=power, origin=0.0, unit=1.0, center=0.0, scale=1.0)
    y = bend.forward(fitted)
    center, scale = float(y.mean()), max(float(y.std()), 1e-6)
    z = (bend.forward(held_out) - center) / scale
    return float((-0.5 * z**2 - math.log(scale) + bend.log_slope(held_out)).mean())


def _without_outliers(values: FloatArray) -> FloatArray:
    low, middle, high = np.percentile(values, [25, 50, 75])
    reach = FAR * (high - low) / _IQR_OF_NORMAL if high > low else np.inf
    return np.asarray(np.clip(values, middle - reach, middle + reach))
