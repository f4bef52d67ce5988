"""Rows in data units to the networks' input, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.angles import from_angle, to_angle, wrapped
from anomaly_vae.columns.heads import ColumnModel
from anomaly_vae.columns.layout import Layout
from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.columns.tails import Stretch
from anomaly_vae.columns.transforms import Standardise

__all__ = ["LOG_NEW_VALUES", "Features", "Inputs"]

# Values are clipped to +-1e15 standard deviations: their squares, 1e30, are below the float32 limit of 3e38.
_LARGEST_VALUE = 1e15

# Logarithm of the number of values that a new one may have, where new values are not to be expected. Chosen, not
# measured: float32 has 2^32 values.
LOG_NEW_VALUES = 32.0 * math.log(2.0)


class Inputs(NamedTuple):
    """Rows as the networks take them.

    Attributes:
        x: Features in model units, 0 where a cell is missing, float64 (N, F).
        mask: 1 where there is a value, 0 where it is missing, float64 (N, F).
        base: The terms of log p(x) that do not depend on z, nats, (N,). log p(x) in model units plus base is log p(x)
            in data units.
    """

    x: FloatArray
    mask: FloatArray
    base: FloatArray


class Features:
    """Converts rows of a schema to the networks' input, and drawn values to rows."""

    def __init__(self, schema: Schema, columns: Sequence[ColumnModel]) -> None:
        """Lay out the columns; ``columns`` has one entry for each modelled column of the schema."""
        self.schema, self.layout = schema, Layout(columns)
        order = self.layout.order
        self._columns = schema.modelled[order]
        self._models = [columns[m] for m in order]
        self._transforms = [model.transform for model in self._models]
        # All linear transforms are applied at once. The others are few: each is applied alone, and has the identity
        # among the linear ones.
        self._nonlinear = [j for j, t in enumerate(self._transforms) if not (t is None or isinstance(t, Standardise))]
        linear = [t if isinstance(t, Standardise) else Standardise(center=0.0, scale=1.0) for t in self._transforms]
        self._center = np.array([t.center for t in linear])
        self._scale = np.array([t.scale for t in linear])
        self._log_jacobian = np.array([model.head.log_jacobian(model.transform) for model in self._models])
        self._with_base = [(j, m.head) for j, m in enumerate(self._models) if m.head.has_base]
        self._stretch = Stretch([model.tails for model in self._models])
        # The slopes of the transforms at both ends of the training range, (2, M).
        self._end_slopes = np.array([_end_slopes(model) for model in self._models]).T
        self._column_of_feature = self.layout.column_of_feature
        self._is_one_feature_each = len(self._column_of_feature) == len(self._columns)
        self._category_of_feature = self._categories()
        self._cycles = [(j, m.head.cycle) for j, m in enumerate(self._models) if m.head.cycle is not None]
        self._cosines = [int(np.flatnonzero(self._column_of_feature == j)[0]) for j, _ in self._cycles]
        self._with_rare = [(j, schema.columns[d]) for j, d in enumerate(self._columns) if schema.columns[d].rare]
        shares = np.array([column.other_share or 0.0 for column in schema.columns])
        self._ranks_lowest = np.array([column.novelty == "lowest" for column in schema.columns])
        self._log_known, self._has_shares = np.log1p(-shares), bool(shares.any() or self._ranks_lowest.any())
        self._log_other = np.log(np.where(shares > 0.0, shares, 1.0))

    def encode(self, rows: FloatArray) -> Inputs:
        """Convert rows (N, D) in data units, NaN where a cell is missing.

        A cell outside the column's values is missing for the networks; ``base`` has its probability.
        """
        values = rows[:, self._columns]
        for j, column in self._with_rare:
            values[:, j] = _levels_of(column, values[:, j])
        for j, cycle in self._cycles:
            values[:, j] = to_angle(values[:, j], cycle)
        novel = self.schema.novel_cells(rows)
        other = self.schema.other_cells(rows, novel)
        absent = np.isnan(values)
        if other.any():
            absent |= other[:, self._columns]
        present = ~absent
        y, base = self._in_model_units(values, absent)
        x = y if self._is_one_feature_each else y[:, self._column_of_feature]
        if self._category_of_feature is not None:
            one_hot = self._category_of_feature >= 0
            x[:, one_hot] = x[:, one_hot] == self._category_of_feature[one_hot]
        for cosine in self._cosines:
            angles = np.ascontiguousarray(x[:, cosine])  # contiguous: the same instructions for every row
            x[:, cosine], x[:, cosine + 1] = np.cos(angles), np.sin(angles)
        mask = present.astype(np.float64)
        if not self._is_one_feature_each:
            mask = mask[:, self._column_of_feature]
        x = np.where(mask > 0.0, x, 0.0)
        return Inputs(x, mask, np.where(present, base, 0.0).sum(axis=-1) + self._log_shares(rows, novel, other))

    def _log_shares(self, rows: FloatArray, novel: NDArray[np.bool_], other: NDArray[np.bool_]) -> FloatArray:
        """Return the log-probabilities of cells outside their columns' values, and of not being outside, nats, (N,)."""
        if not self._has_shares:
            return np.zeros(len(rows))
        terms = np.where(np.isnan(rows), 0.0, np.where(other, self._log_other, self._log_known))
        terms[novel & self._ranks_lowest] -= LOG_NEW_VALUES
        return np.asarray(np.ascontiguousarray(terms).sum(axis=-1))  # contiguous: one order of the sum for all N

    def _in_model_units(self, values: FloatArray, absent: NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
        """Return values in model units, and for each cell the terms of log p that do not depend on z, nats, (N, M)."""
        outside = self._stretch.outside(values)
        if not outside.any():
            y, base = self._standardised(values, absent)
        else:
            y, base = self._standardised(np.clip(values, self._stretch.low, self._stretch.high), absent)
            columns = np.nonzero(outside)[1]
            stretched, log_slope = self._stretch.forward(values[outside], columns)
            with np.errstate(over="ignore"):
                y[outside] += stretched * self._end_slopes[(stretched > 0.0).astype(np.intp), columns]
            base[outside] += log_slope
        return np.clip(y, -_LARGEST_VALUE, _LARGEST_VALUE), base

    def _standardised(self, values: FloatArray, absent: NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
        """Return the values' transforms, and for each cell the terms of log p that do not depend on z, nats, (N, M)."""
        with np.errstate(over="ignore"):
            y = (values - self._center) / self._scale
        base = np.broadcast_to(self._log_jacobian, y.shape).copy()
        for j in self._nonlinear:
            transform = self._transforms[j]
            if transform is not None:
                y[:, j] = transform.forward(values[:, j])
                base[:, j] += transform.log_slope(values[:, j])
        for j, head in self._with_base:
            base[:, j] = head.base(np.where(absent[:, j], 0.0, np.minimum(values[:, j], _LARGEST_VALUE)))
        return y, base

    def unit_log_density(self, m: int) -> float | None:
        """Return log p in data units of modelled column m where its density in standardised units is 1, nats.

        None if the column has no units (text, counts). On a grid, log p is the log-probability of a grid point.
        On a circle, the density is that of the uniform distribution.
        """
        model = self._models[int(np.flatnonzero(self.layout.order == m)[0])]
        found: float | None = model.head.unit_log_density(model.transform)
        return found

    def levels_of(self, m: int, rows: FloatArray) -> FloatArray:
        """Return the values of modelled column m that are not missing, shape (n,); categories as their levels."""
        d = int(self.schema.modelled[m])
        values = rows[:, d][~np.isnan(rows[:, d])]
        return _levels_of(self.schema.columns[d], values)

    def part(self, columns: Sequence[int]) -> tuple[Features, NDArray[np.intp]]:
        """Return the features of some modelled columns alone, and their places in the decoder's output.

        Args:
            columns: Indices of the columns of the schema, increasing.
        """
        models = dict(zip(self._columns.tolist(), self._models, strict=True))
        chosen = tuple(self.schema.columns[d] for d in columns)
        places = {d: m for m, d in enumerate(self.schema.modelled.tolist())}
        part = Features(Schema(columns=chosen), [models[d] for d in columns])
        return part, self.layout.params_of(np.array([places[d] for d in columns]))

    def decode(self, values: FloatArray, rng: np.random.Generator | None = None) -> FloatArray:
        """Convert values (N, M) in model units, in the order of the layout, to rows (N, D) in data units.

        Columns without a head hold one value. Values of a column with a grid are rounded to it.

        Args:
            values: A category is the index of its level; a value on a circle is its angle.
            rng: Draws a rare category for the level "other"; None for the first of them.
        """
        rows = np.zeros((len(values), len(self.schema.columns)))
        for d, column in enumerate(self.schema.columns):
            if column.value is not None:
                rows[:, d] = column.value
            elif not column.is_modelled:
                rows[:, d] = _category(column, np.zeros(len(rows)), rng)
        for j, d in enumerate(self._columns):
            model, column = self._models[j], self.schema.columns[d]
            back = self._data_units(values[:, j], j)
            if column.step is not None and model.head.grid_step is not None:
                back = np.round((back - column.origin) / column.step) * column.step + column.origin
            if model.head.cycle is not None:
                back = wrapped(back, model.head.cycle)
            rows[:, d] = _category(column, back, rng) if column.rare else back
        return rows

    def _data_units(self, y: FloatArray, j: int) -> FloatArray:
        """Convert one column's values in model units to data units."""
        transform, tails, cycle = self._transforms[j], self._models[j].tails, self._models[j].head.cycle
        if transform is None:
            return y if cycle is None else from_angle(y, cycle)
        if tails is None:
            return np.asarray(transform.inverse(y))
        inside = np.clip(y, *transform.forward(tails.ends))
        beyond = y - inside
        outside = beyond != 0.0
        slopes = self._end_slopes[(beyond[outside] > 0.0).astype(np.intp), j]
        back = np.asarray(transform.inverse(inside))
        back[outside] = self._stretch.inverse(beyond[outside] / slopes, j)
        return back

    def _categories(self) -> NDArray[np.int64] | None:
        """Return the category of each feature, -1 for features of numbers; None if there are no categories."""
        found = np.full(self.layout.num_features, -1, dtype=np.int64)
        for block in self.layout.blocks:
            if block.heads[0].num_categories is not None:
                found[block.features] = np.concatenate([np.arange(size) for size in block.sizes])
        return found if (found >= 0).any() else None


def _levels_of(column: Column, values: FloatArray) -> FloatArray:
    """Replace categories by the levels of their head, (N,) -> (N,); missing cells stay NaN.

    Rare and unknown categories get the level after the last frequent one: "other", or none, and the cell is outside.
    """
    if not column.rare:
        return values
    frequent = column.frequent
    level = np.searchsorted(frequent, values)
    is_frequent = np.append(frequent, -1)[level] == values
    return np.where(np.isnan(values), np.nan, np.where(is_frequent, level, len(frequent)))


def _category(column: Column, levels: FloatArray, rng: np.random.Generator | None) -> FloatArray:
    """Return the category of each level, (N,) -> (N,)."""
    rare = np.array(column.rare or (0,))
    drawn = rare[0] if rng is None else rare[rng.integers(len(rare), size=len(levels))]
    index = np.minimum(levels.astype(np.int64), len(column.frequent))
    return np.where(index == len(column.frequent), drawn, np.append(column.frequent, 0)[index]).astype(np.float64)


def _end_slopes(model: ColumnModel) -> tuple[float, float]:
    """Return the slopes of a column's transform at the ends of the training range; 1 for a column without tails."""
    if model.transform is None or model.tails is None:
        return 1.0, 1.0
    low, high = np.exp(model.transform.log_slope(model.tails.ends))
    return float(low), float(high)
