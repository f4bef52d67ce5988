"""Arrays, DataFrames and Arrow tables to rows of numbers, checked against a schema.

Rows of numbers are float64 (N, D). NaN is a missing cell. A text is the index of its category, or -1 if the column has
no such category.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.schema import UNSEEN, Schema
from anomaly_vae.errors import InvalidInput

__all__ = [
    "MISSING_TEXTS",
    "Matrix",
    "check_names",
    "check_not_infinite",
    "column_names",
    "match_columns",
    "text_of",
    "to_matrix",
    "to_rows",
]


# Texts that mean a missing cell, compared in lower case.
MISSING_TEXTS = frozenset({"", "na", "n/a", "nan", "null", "none"})

_WHOLE = re.compile(r"^(-?[0-9]+)\.0+$")


class Matrix(NamedTuple):
    """A table to train on.

    Attributes:
        names: Names of the columns.
        rows: Shape (N, D).
        categories: The categories of each column of text, sorted, by its name.
    """

    names: tuple[str, ...]
    rows: FloatArray
    categories: dict[str, tuple[str, ...]]


def to_rows(data: Any, schema: Schema, owner: str = "the model") -> FloatArray:
    """Return rows of numbers (N, D) in the order of the schema.

    Args:
        data: Array of shape (N, D) in the schema's order, or a table with named columns in any order (a pandas or
            polars DataFrame, an Arrow table or record batch); further columns are ignored. None, NaN and nulls are
            missing cells.
        schema: The expected columns.
        owner: Name of the model in error messages.

    Raises:
        InvalidInput: The number of columns is wrong, a column is missing, a column of numbers holds text, or a value is
            infinite.
    """
    names = column_names(data)
    if names is None:
        columns = _array_columns(data, f"(rows, {len(schema.columns)})")
        if len(columns) != len(schema.columns):
            raise InvalidInput(
                f"X has {len(columns)} features, but {owner} is expecting {len(schema.columns)} features as input: "
                f"{_preview(schema.names)}"
            )
    else:
        match_columns(names, schema.names)
        columns = _named_columns(data, schema.names)
    rows = np.empty((len(columns[0]), len(columns)))
    for d, (column, values) in enumerate(zip(schema.columns, columns, strict=True)):
        if column.categories is not None:
            rows[:, d] = _codes(_texts(values), {text: code for code, text in enumerate(column.categories)})
        else:
            rows[:, d] = _to_float64(values, f"column {column.name!r}", field=column.name)
    check_not_infinite(rows, schema.names)
    return rows


def to_matrix(data: Any, categorical: frozenset[str] = frozenset()) -> Matrix:
    """Return training data as rows of numbers; columns without names are called x0, x1 and so on.

    Args:
        data: As for :func:`to_rows`.
        categorical: Columns of numbers that are categories.

    Raises:
        InvalidInput: The data are not two-dimensional, have no columns, or hold an infinity or a value that is neither
            number nor text.
    """
    names = column_names(data)
    if names is None:
        columns = _array_columns(data, "(rows, columns)")
        names = tuple(f"x{d}" for d in range(len(columns)))
    else:
        match_columns(names, names)
        columns = _named_columns(data, names)
    if not columns:
        raise InvalidInput("got 0 columns: 0 feature(s) (shape=(0, 0)) while a minimum of 1 is required.")
    rows, categories = np.empty((len(columns[0]), len(columns))), {}
    for d, (name, values) in enumerate(zip(names, columns, strict=True)):
        if name in categorical or _is_text(values):
            texts = _texts(values)
            categories[name] = tuple(sorted({text for text in texts if text is not None}))
            rows[:, d] = _codes(texts, {text: code for code, text in enumerate(categories[name])})
        else:
            rows[:, d] = _to_float64(values, f"column {name!r}", field=name)
    check_not_infinite(rows, names)
    return Matrix(names, rows, categories)


def column_names(data: Any) -> tuple[str, ...] | None:
    """Return the column names of a DataFrame or Arrow table, None for an array; imports neither pandas nor pyarrow."""
    names = getattr(data, "column_names", None)  # pyarrow
    if names is None:
        names = getattr(data, "columns", None)  # pandas, polars
    return None if names is None else tuple(str(name) for name in names)


def match_columns(found: tuple[str, ...], expected: tuple[str, ...]) -> None:
    """Raise InvalidInput if an expected column is missing or appears more than once."""
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
            raise InvalidInput(f"column {name!r} appears {counts[name]} times; rename all but one", field=name)


def check_names(names: tuple[str, ...]) -> None:
    """Raise InvalidInput if a name is empty, cannot be printed or appears more than once."""
    counts = Counter(names)
    for d, name in enumerate(names):
        if not name:
            raise InvalidInput(f"column {d + 1} has no name; name it in the header")
        if not name.isprintable():
            raise InvalidInput(f"column {name!r} has characters in its name that cannot be printed; rename it")
        if counts[name] > 1:
            raise InvalidInput(f"column {name!r} appears {counts[name]} times; rename all but one", field=name)


def check_not_infinite(rows: FloatArray, names: tuple[str, ...]) -> None:
    """Raise InvalidInput naming the first row and column that holds an infinity."""
    bad = np.isinf(rows)
    if not bad.any():
        return
    i, d = (int(index) for index in np.argwhere(bad)[0])
    raise InvalidInput(
        f"row {i}, column {names[d]!r} is {rows[i, d]}; {int(bad.any(axis=1).sum())} of {len(rows)} rows hold an "
        "infinity. Use NaN for missing cells, and leave other such rows out",
        field=names[d],
    )


def text_of(value: object) -> str | None:
    """Return a category as text, the same for every type of table; None for a missing cell.

    White space around a text is removed, and so are zeros after the decimal point of a whole number: 3.0, "3.0" and "3"
    are the same category.
    """
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        text = value.strip()
        return None if text.lower() in MISSING_TEXTS else _WHOLE.sub(r"\1", text)
    if isinstance(value, (bool, np.bool_)):
        return "1" if value else "0"
    if isinstance(value, (float, np.floating)):
        number = float(value)
        if number != number:
            return None
        return str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)
    return str(value)


def _named_columns(data: Any, names: tuple[str, ...]) -> list[NDArray[Any]]:
    """Return the named columns of a DataFrame or Arrow table."""
    is_arrow = hasattr(data, "column_names")
    own = {} if is_arrow else {str(name): name for name in data.columns}  # names in a DataFrame may be numbers
    return [_arrow_column(data.column(name)) if is_arrow else np.asarray(data[own[name]]) for name in names]


def _arrow_column(column: Any) -> NDArray[Any]:
    """Return an Arrow column as an array. numpy would turn the nulls of a dictionary into its last entry."""
    if str(column.type).startswith("dictionary"):
        return np.array(column.to_pylist(), dtype=object)
    return np.asarray(column)


def _array_columns(data: Any, expected: str) -> list[NDArray[Any]]:
    if hasattr(data, "toarray") and hasattr(data, "nnz"):
        raise InvalidInput("the array is a sparse matrix; give a dense array (X.toarray())")
    array = np.asarray(data)
    if array.dtype.kind not in "OU":
        array = _to_float64(array, "the array")
    if array.ndim != 2:
        hint = ". Reshape your data: x.reshape(1, -1) for a single row" if array.ndim == 1 else ""
        raise InvalidInput(f"expected a 2-D array {expected}, got shape {array.shape}{hint}")
    if array.shape[1] == 0:
        raise InvalidInput(f"got 0 columns: 0 feature(s) (shape={array.shape}) while a minimum of 1 is required.")
    return list(array.T)


def _to_float64(values: NDArray[Any], where: str, field: str | None = None) -> FloatArray:
    if values.dtype.kind == "c":
        raise InvalidInput("Complex data not supported: give real numbers", field=field)
    if values.dtype.kind in "fiub":
        return values.astype(np.float64, copy=False)
    if values.dtype.kind == "O" and not any(isinstance(value, (str, bytes)) for value in values.flat):
        try:
            numbers = [np.nan if text_of(value) is None else float(value) for value in values.flat]
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"{where} holds a value that is not a number: {error}", field=field) from error
        return np.array(numbers, dtype=np.float64).reshape(values.shape)
    odd = next((value for value in values.flat if isinstance(value, (str, bytes))), None)
    example = "" if odd is None else f" such as {str(odd)[:40]!r}"
    kind = "text" if values.dtype.kind in "OUS" else str(values.dtype)
    raise InvalidInput(f"{where} holds {kind} values{example}, expected numbers", field=field)


def _is_text(values: NDArray[Any]) -> bool:
    if values.dtype.kind == "U":
        return True
    return values.dtype.kind == "O" and any(isinstance(value, (str, bytes)) for value in values)


def _texts(values: NDArray[Any]) -> list[str | None]:
    return [text_of(value) for value in values.tolist()] if values.dtype.kind in "fiubOU" else [None] * len(values)


def _codes(texts: list[str | None], codes: dict[str, int]) -> FloatArray:
    return np.array([np.nan if text is None else codes.get(text, UNSEEN) for text in texts], dtype=np.float64)


def _preview(names: tuple[str, ...] | list[str], most: int = 5) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
