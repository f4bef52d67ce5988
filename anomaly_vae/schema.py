"""The columns a model was trained on, and the check that rows have them."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from anomaly_vae.densities import FloatArray
from anomaly_vae.errors import InvalidInput

__all__ = ["Column", "Schema", "check_finite", "check_names", "column_names", "match_columns", "to_matrix", "to_rows"]

_MOST_REASONS = 3


class Column(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One column.

    Attributes:
        name: Its name in the training table.
        kind: "continuous" (has a density) or "constant" (one value in training; another value is a novelty).
        value: The constant's value, data units; None for other kinds.
    """

    name: str
    kind: Literal["continuous", "constant"]
    value: float | None = None


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
        """Indices of the columns that have a density, shape (D,)."""
        return np.flatnonzero([column.kind != "constant" for column in self.columns])

    @classmethod
    def infer(cls, rows: FloatArray, names: tuple[str, ...], label: str | None = None) -> Schema:
        """Read the kinds off training rows of shape (N, D).

        Raises:
            InvalidInput: Every column is constant, so there is nothing to model.
        """
        constant = rows.min(axis=0) == rows.max(axis=0)
        if constant.all():
            raise InvalidInput(
                f"all {len(names)} columns hold one single value in the {len(rows)} training rows; "
                "there is nothing to model. Check the input, or give columns that vary"
            )
        return cls(
            columns=tuple(
                Column(name=name, kind="constant", value=float(rows[0, d]))
                if constant[d]
                else Column(name=name, kind="continuous")
                for d, name in enumerate(names)
            ),
            label=label,
        )

    def changed(self, rows: FloatArray) -> NDArray[np.bool_]:
        """Which constant columns hold another value than in training, to the precision of float32, shape (N, D)."""
        values = np.array([0.0 if column.value is None else column.value for column in self.columns])
        constant = [column.kind == "constant" for column in self.columns]
        with np.errstate(over="ignore"):  # rows may have come as float32, where 0.1 is another number
            differs = (rows != values) & (rows.astype(np.float32) != values.astype(np.float32))
        return np.asarray(differs & np.asarray(constant))

    def is_novel(self, rows: FloatArray) -> NDArray[np.bool_]:
        """Which rows have a changed constant column, and so rank below every other, shape (N,)."""
        return np.asarray(self.changed(rows).any(axis=1))

    def describe(self, changed: NDArray[np.bool_], rows: FloatArray) -> list[str | None]:
        """For each row, in words, which constant columns :meth:`changed`; None for most rows."""
        reasons: list[str | None] = [None] * len(rows)
        for i in np.flatnonzero(changed.any(axis=1)):
            found = np.flatnonzero(changed[i])
            texts = [self._change(int(d), float(rows[i, d])) for d in found[:_MOST_REASONS]]
            if len(found) > _MOST_REASONS:
                texts.append(f"and {len(found) - _MOST_REASONS} more columns")
            reasons[i] = "; ".join(texts)
        return reasons

    def _change(self, d: int, value: float) -> str:
        column = self.columns[d]
        return f"column {column.name!r} was always {column.value!r} in training, is {value!r}"


def to_rows(data: Any, schema: Schema) -> FloatArray:
    """Rows as a float64 array (N, D) in the order of the schema.

    Args:
        data: Array of shape (N, D) in the schema's order, or anything with named columns (a pandas or polars
            DataFrame, an Arrow table or record batch), in any order; further columns are ignored.
        schema: The columns expected.

    Raises:
        InvalidInput: Wrong width, a column missing, not numeric, or a value missing or not finite.
    """
    names = column_names(data)
    if names is None:
        rows = _array(data, f"(rows, {len(schema.columns)})")
        if rows.shape[1] != len(schema.columns):
            raise InvalidInput(
                f"X has {rows.shape[1]} features, but the model is expecting {len(schema.columns)} features as input: "
                f"{_preview(schema.names)}"
            )
    else:
        match_columns(names, schema.names)
        rows = _named_rows(data, schema.names)
    check_finite(rows, schema.names)
    return np.ascontiguousarray(rows)


def to_matrix(data: Any) -> tuple[tuple[str, ...], FloatArray]:
    """Column names and rows (N, D) of training data; arrays without names get x0, x1 and so on.

    Raises:
        InvalidInput: As :func:`to_rows`.
    """
    names = column_names(data)
    if names is None:
        rows = _array(data, "(rows, columns)")
        names = tuple(f"x{d}" for d in range(rows.shape[1]))
    else:
        match_columns(names, names)
        rows = _named_rows(data, names)
    if rows.shape[1] == 0:
        raise InvalidInput(f"got 0 columns: 0 feature(s) (shape={rows.shape}) while a minimum of 1 is required.")
    check_finite(rows, names)
    return names, np.ascontiguousarray(rows)


def column_names(data: Any) -> tuple[str, ...] | None:
    """The column names of a DataFrame or Arrow table, None for an array; recognised without importing either."""
    names = getattr(data, "column_names", None)  # pyarrow
    if names is None:
        names = getattr(data, "columns", None)  # pandas, polars
    return None if names is None else tuple(str(name) for name in names)


def _named_rows(data: Any, names: tuple[str, ...]) -> FloatArray:
    """The named columns of a DataFrame or Arrow table as float64, shape (N, D)."""
    is_arrow = hasattr(data, "column_names")
    own = {} if is_arrow else {str(name): name for name in data.columns}  # a DataFrame's names need not be strings
    rows = np.empty((len(data), len(names)), dtype=np.float64)
    for d, name in enumerate(names):
        values = np.asarray(data.column(name) if is_arrow else data[own[name]])
        rows[:, d] = _to_float64(values, f"column {name!r}", field=name)
    return rows


def match_columns(found: tuple[str, ...], expected: tuple[str, ...]) -> None:
    """Raise InvalidInput unless every expected column is there, once."""
    counts = Counter(found)
    missing = [name for name in expected if name not in counts]
    if missing:
        raise InvalidInput(
            f"{len(missing)} of the model's {len(expected)} columns are missing: {_preview(missing)}; "
            f"found {_preview(found)}",
            field=missing[0],
        )
    for name in expected:
        if counts[name] > 1:
            raise InvalidInput(f"column {name!r} stands {counts[name]} times; rename all but one", field=name)


def check_names(names: tuple[str, ...]) -> None:
    """Raise InvalidInput unless every column has a name of its own that can be printed."""
    counts = Counter(names)
    for d, name in enumerate(names):
        if not name:
            raise InvalidInput(f"column {d + 1} has no name; name it in the header")
        if not name.isprintable():
            raise InvalidInput(f"column {name!r} has characters in its name that cannot be printed; rename it")
        if counts[name] > 1:
            raise InvalidInput(f"column {name!r} stands {counts[name]} times; rename all but one", field=name)


def check_finite(rows: FloatArray, names: tuple[str, ...]) -> None:
    """Raise InvalidInput naming the first row and column that holds NaN or an infinity."""
    if np.isfinite(rows).all():
        return
    bad = ~np.isfinite(rows)
    i, d = (int(index) for index in np.argwhere(bad)[0])
    what = "is missing (NaN)" if np.isnan(rows[i, d]) else f"is {rows[i, d]}"
    raise InvalidInput(
        f"row {i}, column {names[d]!r} {what}; {int(bad.any(axis=1).sum())} of {len(rows)} rows hold NaN or infinity. "
        "Missing values are not supported yet: fill the cells or leave the rows out",
        field=names[d],
    )


def _array(data: Any, expected: str) -> FloatArray:
    rows = _to_float64(data, "the array")
    if rows.ndim != 2:
        hint = ". Reshape your data: x.reshape(1, -1) for a single row" if rows.ndim == 1 else ""
        raise InvalidInput(f"expected a 2-D array {expected}, got shape {rows.shape}{hint}")
    return rows


def _to_float64(values: Any, where: str, field: str | None = None) -> FloatArray:
    if hasattr(values, "toarray") and hasattr(values, "nnz"):
        raise InvalidInput(f"{where} is a sparse matrix; give a dense array (X.toarray())")
    array = np.asarray(values)
    if array.dtype.kind == "c":
        raise InvalidInput("Complex data not supported: give real numbers", field=field)
    if array.dtype.kind in "fiub":
        return array.astype(np.float64, copy=False)
    try:
        if array.dtype.kind == "O" and not any(isinstance(value, (str, bytes)) for value in array.flat):
            return np.asarray(array.astype(np.float64))
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{where} holds a value that is no number: {error}", field=field) from error
    raise InvalidInput(f"{where} holds {array.dtype} values, expected numbers", field=field)


def _preview(names: tuple[str, ...] | list[str], most: int = 5) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
