"""Rows in data units to what the networks see, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.densities import FloatArray
from anomaly_vae.heads import ColumnModel, CountHead, LogisticHead
from anomaly_vae.layout import Layout
from anomaly_vae.schema import Schema
from anomaly_vae.special import log_gamma
from anomaly_vae.transforms import Standardise

__all__ = ["Features", "Inputs"]

# Values are cut here, in standard deviations, so that squares stay finite in float32.
_FAR = 1e15


class Inputs(NamedTuple):
    """Rows as a model takes them.

    Attributes:
        x: Features in model units, 0 where a cell is missing, float64 (N, F).
        mask: 1 where there is a value, 0 where it is missing, float64 (N, F).
        base: What does not depend on z, nats, (N,): adds to log p(x) in model units to give data units.
    """

    x: FloatArray
    mask: FloatArray
    base: FloatArray


class Features:
    """The modelled columns of a schema, as the networks take them."""

    def __init__(self, schema: Schema, columns: Sequence[ColumnModel]) -> None:
        """Lay out the columns; ``columns`` has one entry for each modelled column of the schema."""
        self.schema, self.layout = schema, Layout(columns)
        order = self.layout.order
        self._columns = schema.modelled[order]
        self._models = [columns[m] for m in order]
        self._plain = [model.transform for model in self._models]
        # Columns whose transform is no line are few: they are bent one by one, and the line after is the identity.
        self._bent = [j for j, model in enumerate(self._models) if not _is_line(model)]
        lines = [t if isinstance(t, Standardise) else Standardise(center=0.0, scale=1.0) for t in self._plain]
        self._center = np.array([line.center for line in lines])
        self._scale = np.array([line.scale for line in lines])
        self._log_unit = np.array([_log_unit(model) for model in self._models])
        self._counts = [(j, m.head) for j, m in enumerate(self._models) if isinstance(m.head, CountHead)]
        self._expand = self.layout.column_of_feature
        self._category = self._categories()

    def encode(self, rows: FloatArray) -> Inputs:
        """Rows (N, D) in data units, NaN where a cell is missing; a novel cell counts as missing here."""
        values = rows[:, self._columns]
        absent = np.isnan(values)
        novel = self.schema.novel_cells(rows)
        if novel.any():
            absent |= novel[:, self._columns]
        with np.errstate(over="ignore"):
            y = (values - self._center) / self._scale
        base = np.broadcast_to(self._log_unit, y.shape).copy()
        for j in self._bent:
            transform = self._plain[j]
            if transform is not None:
                y[:, j] = transform.forward(values[:, j])
                base[:, j] += transform.log_slope(values[:, j])
        y = np.clip(y, -_FAR, _FAR)
        for j, head in self._counts:
            base[:, j] = _count_base(np.where(absent[:, j], 0.0, np.minimum(values[:, j], _FAR)), head)
        present = ~absent
        x = y[:, self._expand] if len(self._expand) != y.shape[1] else y
        if self._category is not None:
            one_hot = self._category >= 0
            x[:, one_hot] = x[:, one_hot] == self._category[one_hot]
        mask = present.astype(np.float64)[:, self._expand]
        x = np.where(mask > 0.0, x, 0.0)
        return Inputs(x, mask, np.where(present, base, 0.0).sum(axis=-1))

    def log_unit(self, m: int) -> float | None:
        """What a modelled column's density in standardised units lacks to be in data units, nats; None without units.

        Where the values lie on a grid, what it lacks to be the probability of a point.
        """
        j = int(np.flatnonzero(self.layout.order == m)[0])
        if self._models[j].transform is None:
            return None
        cell = getattr(self._models[j].head, "cell", None)
        return float(self._log_unit[j]) if cell is None else math.log(cell)

    def decode(self, values: FloatArray) -> FloatArray:
        """Values (N, M) in the order of the layout, model units, to rows (N, D); constant columns have their value."""
        rows = np.zeros((len(values), len(self.schema.columns)))
        for d, column in enumerate(self.schema.columns):
            rows[:, d] = 0.0 if column.value is None else column.value
        for j, d in enumerate(self._columns):
            transform = self._plain[j]
            back = values[:, j] if transform is None else transform.inverse(values[:, j])
            step, origin = self.schema.columns[d].step, self.schema.columns[d].origin
            on_grid = step is not None and getattr(self._models[j].head, "step", None) is not None
            rows[:, d] = np.round((back - origin) / step) * step + origin if on_grid and step is not None else back
        return rows

    def _categories(self) -> NDArray[np.int64] | None:
        """For each feature the category it stands for, -1 where it is no category's."""
        found = np.full(self.layout.num_features, -1, dtype=np.int64)
        for block in self.layout.blocks:
            if block.kind == "categorical":
                found[block.features] = np.concatenate([np.arange(size) for size in block.sizes])
        return found if (found >= 0).any() else None


def _is_line(model: ColumnModel) -> bool:
    return model.transform is None or isinstance(model.transform, Standardise)


def _log_unit(model: ColumnModel) -> float:
    """What a value's density in model units lacks to be one in data units, or to be its point's probability."""
    if isinstance(model.head, LogisticHead):
        return 0.0
    step = getattr(model.head, "step", None)
    slope = -math.log(model.transform.scale) if isinstance(model.transform, Standardise) else 0.0
    return slope + (0.0 if step is None else math.log(step))


def _count_base(x: FloatArray, head: CountHead) -> FloatArray:
    r"""The part of the negative binomial that z has no say in, :math:`\log \Gamma(x + r) / (\Gamma(r) x!)`."""
    dispersion = np.full_like(x, math.exp(head.log_dispersion))
    return log_gamma(x + dispersion) - log_gamma(dispersion) - log_gamma(x + 1.0)
