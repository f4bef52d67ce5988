r"""The columns that a model was trained on, and the cells of a row that the networks cannot judge.

A novel cell holds a value that training never had: another value in a constant column, an unknown category, a value
that is not 0 or 1 in a binary column. Every such value has a probability, so log p(x) stays a log-density:

.. math:: p(x_d \mid z) = \begin{cases} \varepsilon_d & \text{a value outside the column's values} \\
          (1 - \varepsilon_d)\, h_d(x_d \mid z) & \text{otherwise, with the column's head } h_d \end{cases}

:math:`\varepsilon_d = (m + 1) / (n + 2)`, the rule of succession: m of the n values in the training rows were outside
(0, except for rare categories). All values outside count as one event, where they are to be expected. In columns where
a novel cell puts its row below all others, they are not, and each is one of 2^32: see
:mod:`anomaly_vae.columns.novelty` and :data:`anomaly_vae.columns.features.LOG_NEW_VALUES`.

Categories in fewer than LEAST_ROWS rows are too rare to learn. If together they have at least LEAST_ROWS rows, they
are one level of the head, "other", and so are unknown categories: the networks learn its probability. If they have
fewer, they count as outside, like unknown categories.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Literal, TypeVar

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.novel_values import NovelValues
from anomaly_vae.columns.reading.cells import CellReader, expand
from anomaly_vae.columns.reading.codes import CodeBook
from anomaly_vae.columns.reading.missing import Markers
from anomaly_vae.columns.reading.records import Input, NumberReading, TextReading
from anomaly_vae.columns.shapes import SeriesShape, Shape
from anomaly_vae.record import Count, Rate, Record

__all__ = ["KINDS", "LEAST_ROWS", "MOST_CATEGORIES", "NOVELTIES", "Column", "Kind", "Novelty", "Schema"]

_Scalar = TypeVar("_Scalar", bound=np.generic)

Novelty = Literal["lowest", "density"]
NOVELTIES: tuple[Novelty, ...] = ("lowest", "density")
Kind = Literal["continuous", "integer", "count", "binary", "categorical", "constant", "cyclic"]
KINDS: tuple[Kind, ...] = ("continuous", "integer", "count", "binary", "categorical", "constant", "cyclic")

# A column of text with more different texts holds names or free text, not categories. Chosen, not measured: each
# category is one feature of the networks.
MOST_CATEGORIES = 1000

# Rows that a category needs to be a level of its own. Not measured: it is the usual least count of a cell in a table of
# frequencies (Cochran, 1954).
LEAST_ROWS = 5

# Novel cells that the reason of one row names; the others are counted. Chosen, not measured: it keeps the text short.
_MOST_REASONS = 3


class Column(Record):
    """One column.

    Attributes:
        name: The name in the training table.
        kind: "continuous" (any number), "integer" (whole numbers), "count" (whole numbers from 0), "binary" (0 or 1),
            "categorical" (a text from a list), "constant" (one value in training; another value is novel), "cyclic"
            (any number, of which only the remainder modulo ``period`` counts, such as a time of day).
        value: The value of a constant column, data units; None for other kinds.
        categories: The texts of a categorical column, sorted; rows of numbers hold their indices. None for other kinds.
        step, origin: The grid of the values, data units: each value is origin plus a whole number of steps. step is
            None without a grid.
        rare: Indices of the categories in fewer than LEAST_ROWS rows, increasing.
        other_share: The probability of a value outside the column's values, in (0, 1). None if no value is outside:
            every number has a density, or "other" is a level of the head. Also None in bundles of before: there a value
            outside adds nothing to log p(x).
        novelty: "lowest" if a novel cell puts its row below all others, "density" if it only counts by its probability.
            None if no value is novel, and in bundles of before, where it means "lowest".
        period: The period of a cyclic column, data units; None for other kinds.
    """

    name: str
    kind: Kind
    value: float | None = None
    categories: Annotated[tuple[str, ...], Meta(max_length=MOST_CATEGORIES)] | None = None
    step: Annotated[float, Meta(gt=0.0)] | None = None
    origin: float = 0.0
    rare: Annotated[tuple[Count, ...], Meta(max_length=MOST_CATEGORIES)] = ()
    other_share: Rate | None = None
    novelty: Novelty | None = None
    period: Annotated[float, Meta(gt=0.0)] | None = None

    @property
    def is_modelled(self) -> bool:
        """Whether the column has a head, because more than one value was frequent enough in training."""
        return self.kind != "constant" and (self.num_levels is None or self.num_levels > 1)

    @property
    def has_other_level(self) -> bool:
        """Whether rare and unknown categories are a level of the head."""
        return len(self.rare) > 0 and self.other_share is None

    @property
    def is_constant(self) -> bool:
        """Whether training had one value, a number or a text."""
        return self.kind == "constant" or (self.categories is not None and len(self.categories) == 1)

    @property
    def can_be_novel(self) -> bool:
        """Whether there are values that are novel here; every number fits a column of numbers or angles."""
        return self.kind not in ("continuous", "integer", "cyclic")

    @property
    def num_levels(self) -> int | None:
        """Levels of the head: one for each category that is not rare, and "other" as the last, if it is one."""
        if self.categories is None:
            return None
        return len(self.categories) - len(self.rare) + self.has_other_level

    @property
    def frequent(self) -> NDArray[np.int64]:
        """Indices of the categories with a level of their own, in the order of the levels."""
        return np.setdiff1d(np.arange(len(self.categories or ())), np.array(self.rare, dtype=np.int64))


class Schema(Record, dict=True):
    """The columns of a table, in the order of training.

    What follows from the columns is computed once, because a model may have thousands: every call of a scorer needs it.

    Attributes:
        columns: The columns of the model: a time gives one for each of its parts, every other input gives one.
        label: The 0/1 column of the training table, which scoring ignores, or None.
        shape: Windows of series, or images: their cells are the columns. None for a table.
        inputs: The columns of the training table, also those that the model does not use. Empty if each column of the
            model is an input of plain numbers or texts.
        missing_values: Markers of missing cells beside the usual ones.
        encoding: The encoding of the training table, if it was a text file.
    """

    columns: tuple[Column, ...]
    label: str | None = None
    shape: Shape | None = None
    inputs: tuple[Input, ...] = ()
    missing_values: tuple[str, ...] = ()
    encoding: str | None = None

    @property
    def kind(self) -> Literal["table", "series", "image"]:
        """What one row is: a row of a table, a window of a series or an image."""
        if self.shape is None:
            return "table"
        return "series" if isinstance(self.shape, SeriesShape) else "image"

    @cached_property
    def all_inputs(self) -> tuple[Input, ...]:
        """The columns of the training table, also those that the model does not use."""
        return self.inputs or tuple(_plain_input(column) for column in self.columns)

    @cached_property
    def used_inputs(self) -> tuple[Input, ...]:
        """The columns that a table to score must have."""
        return tuple(each for each in self.all_inputs if each.is_read)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the columns that a table to score must have, in order."""
        return tuple(each.name for each in self.used_inputs)

    @property
    def left_out(self) -> tuple[str, ...]:
        """The names of the columns of the training table that the model does not use."""
        return tuple(each.name for each in self.all_inputs if not each.is_read)

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        """The names of the columns of the model, in order."""
        return tuple(column.name for column in self.columns)

    def reader(self) -> CellReader:
        """Return a reader of tables to score."""
        return self._reader

    @cached_property
    def _reader(self) -> CellReader:
        return CellReader(self.used_inputs, CodeBook(self.categories), Markers(self.missing_values))

    @cached_property
    def reads_only_numbers(self) -> bool:
        """Whether every column that a table to score must have holds plain numbers."""
        return all(isinstance(each.reading, NumberReading) for each in self.used_inputs)

    def expand(self, cells: FloatArray) -> FloatArray:
        """Split times into their parts: cells (N, inputs) as :meth:`reader` reads them to rows (N, D)."""
        return cells if self.reads_only_numbers else expand(cells, self.used_inputs)

    @cached_property
    def modelled(self) -> NDArray[np.intp]:
        """Indices of the columns that have a density, shape (M,)."""
        return _constant(np.flatnonzero([column.is_modelled for column in self.columns]))

    @cached_property
    def _novel_values(self) -> NovelValues:
        novel = [(d, column) for d, column in enumerate(self.columns) if column.can_be_novel]
        numbers = [(d, column) for d, column in novel if column.value is None and column.categories is None]
        return NovelValues(
            constants={d: column.value for d, column in novel if column.value is not None},
            sizes={d: len(column.categories) for d, column in novel if column.categories is not None},
            binary=[d for d, column in numbers if column.kind == "binary"],
            counts=[d for d, column in numbers if column.kind == "count"],
        )

    @cached_property
    def _lowest(self) -> NDArray[np.bool_]:
        """Which columns put rows with a novel cell below all others, shape (D,)."""
        return _constant(np.array([column.novelty != "density" for column in self.columns]))

    @cached_property
    def _with_rare(self) -> tuple[tuple[int, Column], ...]:
        return tuple((d, column) for d, column in enumerate(self.columns) if column.has_other_level or column.rare)

    @property
    def categories(self) -> dict[str, tuple[str, ...]]:
        """The categories of each categorical column, by its name."""
        return {column.name: column.categories for column in self.columns if column.categories is not None}

    def novel_cells(self, rows: FloatArray) -> NDArray[np.bool_]:
        """Return which cells of rows (N, D) hold a value that training never had, shape (N, D).

        Novel are another value in a constant column (compared in float32), an unknown category, a value other than 0
        and 1 in a binary column, and a value other than 0, 1, 2, ... in a column of counts. A missing cell is not.
        """
        return self._novel_values.cells(rows)

    def is_novel(self, rows: FloatArray) -> NDArray[np.bool_]:
        """Return which rows have a novel cell, shape (N,)."""
        return np.asarray(self.novel_cells(rows).any(axis=1))

    def lowest_cells(self, novel: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which of the novel cells (N, D) put their row below all others, shape (N, D)."""
        return np.asarray(novel & self._lowest)

    def ranks_lowest(self, rows: FloatArray) -> NDArray[np.bool_]:
        """Return which rows rank below all others, shape (N,)."""
        return np.asarray(self.lowest_cells(self.novel_cells(rows)).any(axis=1))

    def other_cells(self, rows: FloatArray, novel: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
        """Return which cells of rows (N, D) are outside the column's values: the networks do not see them, (N, D).

        Args:
            rows: Rows of numbers.
            novel: The result of :meth:`novel_cells`, if it is known.
        """
        other = self.novel_cells(rows) if novel is None else novel.copy()
        for d, column in self._with_rare:
            if column.has_other_level:
                other[:, d] = False
            else:
                other[:, d] |= np.isin(rows[:, d], column.rare)
        return other

    def is_empty(self, rows: FloatArray, novel: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
        """Return which rows have nothing to judge: every modelled cell is missing and none is outside, shape (N,)."""
        return np.asarray(np.isnan(rows[:, self.modelled]).all(axis=1) & ~self.other_cells(rows, novel).any(axis=1))

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


def _constant(array: NDArray[_Scalar]) -> NDArray[_Scalar]:
    """Return the array, which can no longer be written to: it is shared."""
    array.setflags(write=False)
    return array


def _plain_input(column: Column) -> Input:
    return Input(name=column.name, reading=NumberReading() if column.categories is None else TextReading())
