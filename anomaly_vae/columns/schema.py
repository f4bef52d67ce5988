"""The columns that a model was trained on, and the novel cells of a row: values that training never had."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.record import Record

__all__ = ["KINDS", "MOST_CATEGORIES", "UNSEEN", "Column", "Kind", "Schema"]

Kind = Literal["continuous", "integer", "count", "binary", "categorical", "constant"]
KINDS: tuple[Kind, ...] = ("continuous", "integer", "count", "binary", "categorical", "constant")

# A column of text with more different texts holds names or free text, not categories. Chosen, not measured: each
# category is one feature of the networks.
MOST_CATEGORIES = 1000

# The code of a text that is not one of the column's categories, in rows of numbers.
UNSEEN = -1.0

# Novel cells that the reason of one row names; the others are counted. Chosen, not measured: it keeps the text short.
_MOST_REASONS = 3

# Values with a relative difference below 1e-12 count as equal, as in anomaly_vae.columns.kinds.
_ROUNDING = 1e-12


class Column(Record):
    """One column.

    Attributes:
        name: The name in the training table.
        kind: "continuous" (any number), "integer" (whole numbers), "count" (whole numbers from 0), "binary" (0 or 1),
            "categorical" (a text from a list), "constant" (one value in training; another value is novel).
        value: The value of a constant column, data units; None for other kinds.
        categories: The texts of a categorical column, sorted; rows of numbers hold their indices. None for other kinds.
        step, origin: The grid of the values, data units: each value is origin plus a whole number of steps. step is
            None without a grid.
    """

    name: str
    kind: Kind
    value: float | None = None
    categories: Annotated[tuple[str, ...], Meta(max_length=MOST_CATEGORIES)] | None = None
    step: Annotated[float, Meta(gt=0.0)] | None = None
    origin: float = 0.0

    @property
    def is_modelled(self) -> bool:
        """Whether the column has a density, because it had more than one value in training."""
        return self.kind != "constant" and (self.categories is None or len(self.categories) > 1)


class Schema(Record):
    """The columns of a table, in the order of training.

    Attributes:
        columns: All input columns.
        label: The 0/1 column of the training table, which scoring ignores, or None.
        kind: Shape of one input: always "table", a row of columns.
    """

    columns: tuple[Column, ...]
    label: str | None = None
    kind: Literal["table"] = "table"

    @property
    def names(self) -> tuple[str, ...]:
        """Column names, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def modelled(self) -> NDArray[np.intp]:
        """Indices of the columns that have a density, shape (M,)."""
        return np.flatnonzero([column.is_modelled for column in self.columns])

    @property
    def categories(self) -> dict[str, tuple[str, ...]]:
        """The categories of each categorical column, by its name."""
        return {column.name: column.categories for column in self.columns if column.categories is not None}

    def novel_cells(self, rows: FloatArray) -> NDArray[np.bool_]:
        """Return which cells of rows (N, D) are novel: the model has no density for their values, shape (N, D).

        Novel are another value in a constant column (compared in float32), an unknown category, a value other than 0
        and 1 in a binary column, and a value other than 0, 1, 2, ... in a column of counts. A missing cell is not.
        """
        novel = np.zeros(rows.shape, dtype=bool)
        for d, column in enumerate(self.columns):
            values = rows[:, d]
            if column.value is not None:
                with np.errstate(over="ignore"):  # rows may come from float32, where 0.1 is another number
                    constant = np.float32(column.value)
                    same = (values.astype(np.float32) == constant) & np.isfinite(constant)
                    differs = np.abs(values - column.value) > _ROUNDING * abs(column.value)
                novel[:, d] = ~same & differs
            elif column.categories is not None:
                novel[:, d] = ~((values >= 0) & (values < len(column.categories)) & (values == np.floor(values)))
            elif column.kind == "binary":
                novel[:, d] = (values != 0.0) & (values != 1.0)
            elif column.kind == "count":
                novel[:, d] = (values < 0.0) | (values != np.floor(values))
        return novel & ~np.isnan(rows)

    def is_novel(self, rows: FloatArray) -> NDArray[np.bool_]:
        """Return which rows have a novel cell; they rank below all other rows, shape (N,)."""
        return np.asarray(self.novel_cells(rows).any(axis=1))

    def describe(self, novel: NDArray[np.bool_], rows: FloatArray) -> list[str | None]:
        """Return for each row a text about its novel cells; None for rows without.

        Args:
            novel: The result of :meth:`novel_cells`, shape (N, D).
            rows: Rows of numbers, shape (N, D).
        """
        reasons: list[str | None] = [None] * len(rows)
        for i in np.flatnonzero(novel.any(axis=1)):
            found = np.flatnonzero(novel[i])
            texts = [self._novelty(int(d), float(rows[i, d])) for d in found[:_MOST_REASONS]]
            if len(found) > _MOST_REASONS:
                texts.append(f"and {len(found) - _MOST_REASONS} more columns")
            reasons[i] = "; ".join(texts)
        return reasons

    def _novelty(self, d: int, value: float) -> str:
        column = self.columns[d]
        if column.kind == "constant":
            return f"column {column.name!r} was always {column.value!r} in training, is {value!r}"
        if column.categories is not None:
            return f"column {column.name!r} holds a category that training never had"
        expected = "0 or 1" if column.kind == "binary" else "a whole number from 0"
        return f"column {column.name!r} was always {expected} in training, is {value!r}"
