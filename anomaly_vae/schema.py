"""The columns a model was trained on: their names and kinds, and what is new to them in a row."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from anomaly_vae.densities import FloatArray

__all__ = ["KINDS", "MOST_CATEGORIES", "UNSEEN", "Column", "Kind", "Schema"]

Kind = Literal["continuous", "integer", "count", "binary", "categorical", "constant"]
KINDS: tuple[Kind, ...] = ("continuous", "integer", "count", "binary", "categorical", "constant")

# More different texts than this are no categories, but names or free text.
MOST_CATEGORIES = 1000

# Stands in rows of numbers for a text that is none of the column's categories.
UNSEEN = -1.0

_MOST_REASONS = 3

# Values that differ by less than this part of them differ by rounding.
_ROUNDING = 1e-12


class Column(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One column.

    Attributes:
        name: Its name in the training table.
        kind: "continuous" (any number), "integer" (whole numbers), "count" (whole numbers from 0), "binary" (0 or 1),
            "categorical" (one of some texts), "constant" (one value in training; another value is a novelty).
        value: The constant's value, data units; None for other kinds.
        categories: The texts of a categorical column, sorted; rows of numbers hold their indices. None for other kinds.
        step, origin: The grid on which a column's values lie, origin + step times a whole number, data units; step is
            None where there is none.
    """

    name: str
    kind: Kind
    value: float | None = None
    categories: Annotated[tuple[str, ...], Meta(max_length=MOST_CATEGORIES)] | None = None
    step: Annotated[float, Meta(gt=0.0)] | None = None
    origin: float = 0.0

    @property
    def is_modelled(self) -> bool:
        """Whether the column has a density: it had more than one value in training."""
        return self.kind != "constant" and (self.categories is None or len(self.categories) > 1)


class Schema(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The columns of a table, in the order of training.

    Attributes:
        kind: Shape of one input; "table" (a row of columns) so far.
        columns: All input columns.
        label: The 0/1 column of the training table that scoring ignores, or None.
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
        """The texts of each categorical column, by its name."""
        return {column.name: column.categories for column in self.columns if column.categories is not None}

    def novel_cells(self, rows: FloatArray) -> NDArray[np.bool_]:
        """Which cells of rows (N, D) hold what training never had and the column's kind cannot grade, shape (N, D).

        Another value in a constant column, to the precision of float32; an unseen category; neither 0 nor 1 in a
        binary column; no whole number from 0 in a column of counts. A missing cell is no novelty.
        """
        novel = np.zeros(rows.shape, dtype=bool)
        for d, column in enumerate(self.columns):
            values = rows[:, d]
            if column.value is not None:
                with np.errstate(over="ignore"):  # rows may have come as float32, where 0.1 is another number
                    same = values.astype(np.float32) == np.float32(column.value)
                novel[:, d] = ~same & (np.abs(values - column.value) > _ROUNDING * abs(column.value))
            elif column.categories is not None:
                novel[:, d] = ~((values >= 0) & (values < len(column.categories)) & (values == np.floor(values)))
            elif column.kind == "binary":
                novel[:, d] = (values != 0.0) & (values != 1.0)
            elif column.kind == "count":
                novel[:, d] = (values < 0.0) | (values != np.floor(values))
        return novel & ~np.isnan(rows)

    def is_novel(self, rows: FloatArray) -> NDArray[np.bool_]:
        """Which rows have a novel cell, and so rank below every other, shape (N,)."""
        return np.asarray(self.novel_cells(rows).any(axis=1))

    def describe(self, novel: NDArray[np.bool_], rows: FloatArray) -> list[str | None]:
        """For each row, in words, which :meth:`novel_cells` it has; None for most rows."""
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
