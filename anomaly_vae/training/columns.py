"""How each column enters a model: its transform, fitted to the training rows, and its head before training."""

from __future__ import annotations

import math

import numpy as np

from anomaly_vae.config import TrainConfig
from anomaly_vae.densities import FloatArray
from anomaly_vae.errors import ConfigError, InvalidInput
from anomaly_vae.heads import (
    BernoulliHead,
    CategoricalHead,
    ColumnModel,
    ConditionalHead,
    CountHead,
    GaussianHead,
    Head,
    LogisticHead,
    StudentTHead,
)
from anomaly_vae.schema import Column, Schema
from anomaly_vae.training.heads import STD_FLOOR
from anomaly_vae.transforms import FAR, Standardise, Transform, YeoJohnson

__all__ = ["plan_columns", "standardise", "yeo_johnson"]

# Powers that are tried for a skewed column; 1 is a line.
_POWERS = tuple(round(0.1 * i, 1) for i in range(21))

# Nats a row by which a power must describe held-out values better than a line.
_WORTH_BENDING = 0.1

# Every so many values judge the transforms that the others fit.
_FOLDS = 5


def plan_columns(schema: Schema, rows: FloatArray, config: TrainConfig) -> tuple[ColumnModel, ...]:
    """One entry for each modelled column.

    Args:
        schema: The columns.
        rows: Training rows in data units, NaN where a cell is missing, shape (N, D).
        config: Says which likelihood, variance and transform.

    Raises:
        ConfigError: A likelihood that does not fit a column's values.
        InvalidInput: The values of a column are so large that their variance overflows.
    """
    found = []
    for d in schema.modelled:
        values = rows[:, d][~np.isnan(rows[:, d])]
        found.append(_plan_column(schema.columns[d], values, config))
    return tuple(found)


def _plan_column(column: Column, values: FloatArray, config: TrainConfig) -> ColumnModel:
    if column.categories is not None:
        return ColumnModel(head=CategoricalHead(size=len(column.categories)))
    whole = bool((values == np.floor(values)).all()) and values.min() >= 0.0
    if column.kind == "binary":
        return ColumnModel(head=BernoulliHead())
    if column.kind == "count" or config.likelihood == "count":
        if not whole:
            raise ConfigError(f"likelihood 'count': column {column.name!r} holds {values.min():g}, not whole numbers")
        return ColumnModel(head=_count_head(values))
    if config.likelihood == "bernoulli":
        raise ConfigError(
            f"likelihood 'bernoulli': column {column.name!r} holds values such as {values.max():g}, not just 0 and 1"
        )
    transform = _transform(column, values, config)
    return ColumnModel(head=_number_head(column, transform, config), transform=transform)


def _count_head(values: FloatArray) -> CountHead:
    """Begin with the dispersion of the moments: variance = mean + mean^2 / r."""
    mean, variance = float(values.mean()), float(values.var())
    dispersion = mean**2 / (variance - mean) if variance > mean else 100.0
    log_dispersion = min(max(math.log(max(dispersion, 1e-2)), -4.0), 5.0)
    return CountHead(log_dispersion=log_dispersion, center=mean, scale=max(math.sqrt(variance), 1e-6))


def _number_head(column: Column, transform: Transform, config: TrainConfig) -> Head:
    step = column.step
    cell = step / transform.scale if step is not None and isinstance(transform, Standardise) else None
    floor = max(STD_FLOOR, 0.5 * (cell or 0.0))
    if config.likelihood == "logistic" and step is not None and cell is not None:
        return LogisticHead(log_scale=math.log(0.5), step=step, cell=cell)
    if config.likelihood == "student_t":
        return StudentTHead(log_scale=math.log(0.7), freedom=6.0, step=step)
    if config.decoder_variance == "conditional":
        return ConditionalHead(floor=floor, step=step)
    if config.decoder_variance == "fixed":
        return GaussianHead(variance="fixed", log_var=2.0 * math.log(max(1.0, floor)), step=step)
    return GaussianHead(variance="learned", log_var=0.0, step=step)


def _transform(column: Column, values: FloatArray, config: TrainConfig) -> Transform:
    line = standardise(values, column.name)
    if config.column_transform == "standardise" or column.step is not None:
        return line
    return yeo_johnson(values, line) or line


def standardise(values: FloatArray, name: str) -> Standardise:
    """Mean and standard deviation of values (n,), not all the same.

    Values over 20 robust standard deviations (of the interquartile range) from the median count as that far, so that a
    stray value cannot flatten its column.

    Raises:
        InvalidInput: The values are so large that their variance overflows.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        cut = _winsorised(values)
        center, scale = float(cut.mean()), float(cut.std())
    if not (np.isfinite(center) and np.isfinite(scale) and scale > 0.0 and np.isfinite(1.0 / scale)):
        raise InvalidInput(
            f"column {name!r} spans {values.min():g} to {values.max():g}, beyond what float64 can standardise; "
            "rescale it or take its logarithm",
            field=name,
        )
    return Standardise(center=center, scale=scale)


def yeo_johnson(values: FloatArray, line: Standardise) -> YeoJohnson | None:
    """The power transform under which held-out values are most likely Gaussian; None where a line does as well."""
    held_out = np.arange(len(values)) % _FOLDS == 0
    u = np.clip(line.forward(values), -FAR, FAR)
    scores = [_log_likelihood(power, u[~held_out], u[held_out]) for power in _POWERS]
    best = int(np.argmax(scores))
    if not scores[best] > scores[_POWERS.index(1.0)] + _WORTH_BENDING:
        return None
    bent = YeoJohnson(power=_POWERS[best], origin=line.center, unit=line.scale, center=0.0, scale=1.0)
    y = bent.forward(values)
    again = standardise(y, "")
    return YeoJohnson(power=bent.power, origin=bent.origin, unit=bent.unit, center=again.center, scale=again.scale)


def _log_likelihood(power: float, fitted: FloatArray, held_out: FloatArray) -> float:
    """Mean Gaussian log-density of bent held-out values, in the units before."""
    bend = YeoJohnson(power=power, origin=0.0, unit=1.0, center=0.0, scale=1.0)
    y = bend.forward(fitted)
    center, scale = float(y.mean()), max(float(y.std()), 1e-6)
    z = (bend.forward(held_out) - center) / scale
    return float((-0.5 * z**2 - math.log(scale) + bend.log_slope(held_out)).mean())


def _winsorised(values: FloatArray) -> FloatArray:
    low, middle, high = np.percentile(values, [25, 50, 75])
    reach = FAR * (high - low) / 1.349 if high > low else np.inf  # 1.349 standard deviations of a normal
    return np.asarray(np.clip(values, middle - reach, middle + reach))
