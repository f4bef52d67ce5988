r"""Choose how the axis is stretched outside each column's range: see :mod:`anomaly_vae.columns.tails`.

Of n + 1 exchangeable values, each is the largest with probability 1 / (n + 1). So beyond the largest of n values the
density starts at about :math:`1 / (n \sigma)`, with :math:`\sigma` the scale of the tail there, and falls like a
generalised Pareto distribution that is fitted to the outermost values. A model whose density at the end is higher gets
a jump.

References:
    Parameter and Quantile Estimation for the Generalized Pareto Distribution (Hosking & Wallis, 1987)
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from msgspec import structs

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.features import Features
from anomaly_vae.columns.heads import HEADS, ColumnModel
from anomaly_vae.columns.schema import Schema
from anomaly_vae.columns.tails import Tail, Tails
from anomaly_vae.columns.transforms import Standardise
from anomaly_vae.training.data import load_rows
from anomaly_vae.training.vae import VAE

__all__ = ["Pareto", "fit_pareto", "fit_tails", "with_tails"]

# The outermost values that show a tail: this share of all, and this number at least. Measured on four tables of the
# benchmark errors: with a share of 0.02, the recall at 1 % false alarms is the same within 0.015.
_TAIL_SHARE, _LEAST_TAIL = 0.05, 10

# The shape is pulled towards 0, an exponential tail, as if by this number of values. Chosen, not measured: shapes from
# few values are noisy.
_PRIOR_VALUES = 10

# Distances grow like P(e)^-rate, with P(e) the share of the tail beyond e. A Student's t head has more than 2 degrees
# of freedom: with 1/2 its density falls at least like the column's tail. Measured: a rate of 1 finds more errors (0.51,
# not 0.49, on credit_data at 1 % false alarms), but lowers the mean average precision on 17 ADBench tables by 0.004.
_RATE = 0.5

# Powers above this are as good as the exponential function.
_MOST_POWER = 1000.0

# The least scale of a tail, in standard deviations of the column. Chosen, not measured: ties have the scale 0.
_LEAST_SCALE = 1e-3

# Jumps that are tried, model units. Chosen, not measured.
_JUMPS = np.concatenate([[0.0], np.geomspace(0.01, 1000.0, 61)])

# Training rows whose z stand for all, in the choice of jumps. Chosen, not measured: it bounds the time.
_TYPICAL_ROWS = 1000

# Rounding that may take a value out of the range, as a share of the value and of a standard deviation. Chosen, not
# measured: 10 times the rounding of float32, from which rows may come.
_ROUNDING = 1e-6


class Pareto(NamedTuple):
    """A generalised Pareto distribution of distances e: P(e) = (1 + shape e / scale)^(-1 / shape)."""

    scale: float
    shape: float


@torch.no_grad()
def with_tails(vae: VAE, schema: Schema, rows: FloatArray) -> tuple[ColumnModel, ...]:
    """Return the planned columns of a trained model with the tails that fit the trained heads.

    Args:
        vae: The networks, on the CPU.
        schema: The columns.
        rows: The rows of training and early stopping, data units, NaN where a cell is missing, shape (N, D).
    """
    columns, trained = list(vae.head.columns), vae.head.column_models()
    if schema.shape is not None:
        return tuple(columns)  # pixels have a known range, and a window may lie at any level
    typical = load_rows(Features(schema, trained), rows[:_TYPICAL_ROWS], torch.device("cpu"))
    params = vae.decode(vae.encoder(*typical)[0]).double().numpy()
    for block in vae.head.layout.blocks:
        if not HEADS[block.kind].takes_transform:
            continue
        of_block = params[:, block.params].reshape(len(params), -1, len(block.heads))
        for g, m in enumerate(block.columns):
            values = rows[:, schema.modelled[m]]
            tails = fit_tails(trained[m], values[~np.isnan(values)], of_block[:, :, g])
            columns[m] = structs.replace(columns[m], tails=tails)
    return tuple(columns)


def fit_pareto(distances: FloatArray) -> Pareto:
    """Fit to distances (n,) from the start of a tail, by probability-weighted moments; the shape is in [-1, 1]."""
    n = len(distances)
    mean = float(distances.mean())
    weighted = float((np.sort(distances) * np.arange(n)[::-1]).mean() / max(n - 1, 1))
    if not 2.0 * weighted < mean:  # the distances are all the same
        return Pareto(mean, 0.0)
    shape = min(max(2.0 - mean / (mean - 2.0 * weighted), -1.0), 1.0) * n / (n + _PRIOR_VALUES)
    return Pareto(mean * (1.0 - shape), shape)


def fit_tails(model: ColumnModel, values: FloatArray, params: FloatArray) -> Tails:
    """Return the tails of a column from its values (n,) and the head's parameters at typical z, (m, P)."""
    return Tails(low=_Side(model, values, -1.0).fit(params), high=_Side(model, values, 1.0).fit(params))


class _Side:
    """One side of a column: its values are negated on the low side, so that the tail is above them."""

    def __init__(self, model: ColumnModel, values: FloatArray, sign: float) -> None:
        self._model, self._sign, self._values = model, sign, np.sort(sign * values)
        step = model.head.grid_step
        self._top = float(self._values[-1])
        if model.transform is None:
            raise TypeError("only heads of numbers have tails")
        end = np.array([sign * self._top])
        self._y = float(model.transform.forward(end)[0])
        self._log_slope = float(model.transform.log_slope(end)[0])
        self._unit = math.exp(-self._log_slope)  # data units of a model unit
        self._margin = 0.5 * step if step else _ROUNDING * (abs(self._top) + self._unit)

    def fit(self, params: FloatArray) -> Tail:
        """Return the tail; ``params`` are those of the head at typical z, (m, P)."""
        scale, shape = self._at_the_end()
        rate = max(_RATE, shape)
        length = scale / rate
        jump = self._jump(params, scale, length)
        return Tail(
            end=self._sign * self._top,
            margin=self._margin,
            jump=jump,
            size=max(jump, length),
            length=length,
            power=min(rate / max(shape, rate / _MOST_POWER), _MOST_POWER),
        )

    def _at_the_end(self) -> Pareto:
        """Return the distribution of the distances from the last value; never of a bounded tail."""
        n = len(self._values)
        count = min(max(round(_TAIL_SHARE * n), _LEAST_TAIL), max(n // 2, 1))
        tail = self._values[-count - 1 :] - self._values[-count - 1]
        found = fit_pareto(tail[1:])
        gap = float(tail[-1] - tail[-1 - min(_LEAST_TAIL, count)]) / min(_LEAST_TAIL, count)
        scale = max(found.scale + found.shape * float(tail[-1]), gap)
        if self._top <= 0.0:  # no value has this sign, so zero may be a bound: it is as near as the values come to it
            scale = min(scale, -self._top)
        least = max(_LEAST_SCALE * self._unit, self._model.head.grid_step or 0.0)
        return Pareto(max(scale, least), max(found.shape, 0.0))

    def _jump(self, params: FloatArray, scale: float, length: float) -> float:
        """Return the least jump, data units, from which on the model has the probability of one value in n."""
        head, transform = self._model.head, self._model.transform
        x = (self._y + self._sign * _JUMPS)[:, None, None]
        with np.errstate(over="ignore"):  # far values have the log-density -inf
            log_prob = HEADS[head.kind()].likelihood([head]).log_prob(x, np.ones(1), params)  # (jumps, m)
        log_prob += head.log_jacobian(transform) - math.log(head.grid_step or 1.0)  # a density in data units
        if not isinstance(transform, Standardise):
            log_prob += self._log_slope
        jumps = _JUMPS * self._unit
        log_mass = np.logaddexp.reduce(log_prob, axis=1) - math.log(len(params))
        log_mass += np.log(np.maximum(jumps, length) / length * scale)
        enough = np.flatnonzero(log_mass <= -math.log(len(self._values) + 1.0))
        return float(jumps[enough[0] if len(enough) else -1])
