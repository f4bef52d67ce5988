"""Rows in data units to the networks' input, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.heads import ColumnModel
from anomaly_vae.columns.layout import Layout
from anomaly_vae.columns.schema import Schema
from anomaly_vae.columns.transforms import Standardise

__all__ = ["Features", "Inputs"]

# Values are clipped to +-1e15 standard deviations: their squares, 1e30, are below the float32 limit of 3e38.
_LARGEST_VALUE = 1e15


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
        self._column_of_feature = self.layout.column_of_feature
        self._category_of_feature = self._categories()

    def encode(self, rows: FloatArray) -> Inputs:
        """Convert rows (N, D) in data units, NaN where a cell is missing; a novel cell counts as missing here."""
        values = rows[:, self._columns]
        absent = np.isnan(values)
        novel = self.schema.novel_cells(rows)
        if novel.any():
            absent |= novel[:, self._columns]
        present = ~absent
        y, base = self._standardised(values, absent)
        x = y[:, self._column_of_feature] if len(self._column_of_feature) != y.shape[1] else y
        if self._category_of_feature is not None:
            one_hot = self._category_of_feature >= 0
            x[:, one_hot] = x[:, one_hot] == self._category_of_feature[one_hot]
        mask = present.astype(np.float64)[:, self._column_of_feature]
        x = np.where(mask > 0.0, x, 0.0)
        return Inputs(x, mask, np.where(present, base, 0.0).sum(axis=-1))

    def _standardised(self, values: FloatArray, absent: NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
        """Return values in model units, and for each cell the terms of log p that do not depend on z, nats, (N, M)."""
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
        return np.clip(y, -_LARGEST_VALUE, _LARGEST_VALUE), base

    def unit_log_density(self, m: int) -> float | None:
        """Return log p in data units of modelled column m where its density in standardised units is 1, nats.

        None if the column has no units (text, counts). On a grid, log p is the log-probability of a grid point.
        """
        model = self._models[int(np.flatnonzero(self.layout.order == m)[0])]
        return None if model.transform is None else model.head.unit_log_density(model.transform)

    def decode(self, values: FloatArray) -> FloatArray:
        """Convert values (N, M) in model units, in the order of the layout, to rows (N, D) in data units.

        Constant columns hold their value. Values of a column with a grid are rounded to it.
        """
        rows = np.zeros((len(values), len(self.schema.columns)))
        for d, column in enumerate(self.schema.columns):
            rows[:, d] = 0.0 if column.value is None else column.value
        for j, d in enumerate(self._columns):
            model, column = self._models[j], self.schema.columns[d]
            back = values[:, j] if model.transform is None else model.transform.inverse(values[:, j])
            if column.step is not None and model.head.grid_step is not None:
                back = np.round((back - column.origin) / column.step) * column.step + column.origin
            rows[:, d] = back
        return rows

    def _categories(self) -> NDArray[np.int64] | None:
        """Return the category of each feature, -1 for features of numbers; None if there are no categories."""
        found = np.full(self.layout.num_features, -1, dtype=np.int64)
        for block in self.layout.blocks:
            if block.heads[0].num_categories is not None:
                found[block.features] = np.concatenate([np.arange(size) for size in block.sizes])
        return found if (found >= 0).any() else None
