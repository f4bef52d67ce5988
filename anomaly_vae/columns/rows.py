"""Arrays, DataFrames and Arrow tables to rows of numbers, read as the training table was.

Rows of numbers are float64 (N, D). NaN is a missing cell. A text is the index of its category, or -1 if the column has
no such category.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.image_arrays import refuse_other_values
from anomaly_vae.columns.plan import Wanted, recognise_inputs
from anomaly_vae.columns.reading.cells import CellReader
from anomaly_vae.columns.reading.codes import CodeBook
from anomaly_vae.columns.reading.frames import Cells, cells_of, read_cells, sample_of
from anomaly_vae.columns.reading.missing import Markers
from anomaly_vae.columns.schema import Schema
from anomaly_vae.columns.shaped_rows import flattened
from anomaly_vae.columns.shapes import ImageShape
from anomaly_vae.columns.training_table import TrainingTable, sort_categories
from anomaly_vae.errors import InvalidInput

__all__ = [
    "check_names",
    "check_not_infinite",
    "collected",
    "column_names",
    "match_columns",
    "named_columns",
    "read_columns",
    "to_rows",
    "to_training_table",
]

# Names that a message lists. Chosen, not measured: enough for any table that people look at.
_SHOWN_NAMES, _SHOWN_MISSING = 5, 50
# Whole numbers up to this one are exact in float64.
_EXACT = 2**53
# Names that are compared with the missing ones to find a misspelt one. A comparison took 2 to 8 us, and a request
# and a model may have thousands of names.
_COMPARED_NAMES = 100


def to_rows(data: Any, schema: Schema, owner: str = "the model") -> FloatArray:
    """Return rows of numbers (N, D) in the order of the schema's columns.

    Args:
        data: Array of shape (N, inputs) in the order of the training table, or a table with named columns in any order
            (a pandas or polars DataFrame, an Arrow table or record batch); further columns are ignored. None, NaN and
            nulls are missing cells. Windows and images may also have the shape of their schema: (N, length, channels)
            or (N, height, width, channels); with one channel its axis may be left out.
        schema: The expected columns.
        owner: Name of the model in error messages.

    Raises:
        InvalidInput: The number of columns or the shape is wrong, a column is missing or of another type than in
            training, a value cannot be read or is infinite, or images have another range of values.
    """
    data = collected(data)
    names = column_names(data)
    if names is not None:
        match_columns(names, schema.names)
        rows = read_columns(schema.reader(), [cells_of(column) for column in named_columns(data, schema.names)])
    elif schema.shape is None:
        rows = _array_rows(_matrix(data, f"(rows, {len(schema.all_inputs)})"), schema, owner)
    else:
        rows = _shaped_rows(_array(data), schema, owner)
        if isinstance(schema.shape, ImageShape):
            refuse_other_values(rows, schema.shape, "X")
    if np.isinf(rows).any():
        check_not_infinite(rows, schema.names)
    return schema.expand(rows) if schema.shape is None else rows


def to_training_table(
    data: Any, wanted: Mapping[str, Wanted] | None = None, missing_values: Sequence[str] = ()
) -> TrainingTable:
    """Return training data as rows of numbers; columns without names are called x0, x1 and so on.

    Args:
        data: As for :func:`to_rows`.
        wanted: Kinds of columns that the user set, by name.
        missing_values: Markers of missing cells beside the usual ones.

    Raises:
        InvalidInput: The data are not two-dimensional, have no columns, or hold a value that cannot be read.
    """
    data = collected(data)
    names, has_names = column_names(data), True
    if names is None:
        matrix, has_names = _matrix(data, "(rows, columns)"), False
        columns, names = list(matrix.T), tuple(f"x{d}" for d in range(matrix.shape[1]))
    else:
        match_columns(names, names)
        columns = named_columns(data, names)
    if not columns:
        raise InvalidInput("got 0 columns: 0 feature(s) (shape=(0, 0)) while a minimum of 1 is required.")
    markers, cells = Markers(missing_values), [cells_of(column) for column in columns]
    samples = {name: sample_of(each, markers) for name, each in zip(names, cells, strict=True)}
    inputs, findings = recognise_inputs(samples, wanted or {})
    used = [d for d, each in enumerate(inputs) if each.is_read]
    book = CodeBook(grows=True)
    rows = read_columns(CellReader([inputs[d] for d in used], book, markers), [cells[d] for d in used])
    check_not_infinite(rows, tuple(names[d] for d in used))
    categories = sort_categories([rows], [names[d] for d in used], book.categories)
    return TrainingTable(
        inputs=inputs,
        rows=rows,
        categories=categories,
        findings=findings,
        missing_values=tuple(missing_values),
        has_names=has_names,
    )


def column_names(data: Any) -> tuple[str, ...] | None:
    """Return the column names of a DataFrame or Arrow table, None for an array; imports neither pandas nor pyarrow."""
    names = getattr(data, "column_names", None)  # pyarrow
    if names is None:
        names = getattr(data, "columns", None)  # pandas, polars
    if names is None:
        names = getattr(getattr(data, "dtype", None), "names", None)  # a structured array
    return None if names is None else tuple(str(name) for name in names)


def match_columns(found: tuple[str, ...], expected: tuple[str, ...]) -> None:
    """Raise InvalidInput if expected columns are missing, naming all of them, or if one appears more than once."""
    counts = Counter(found)
    missing = [name for name in expected if name not in counts]
    if missing:
        known = set(expected)
        others = [name for name in counts if name not in known][:_COMPARED_NAMES]
        close = ((name, difflib.get_close_matches(name, others, n=1)) for name in missing[:_SHOWN_MISSING])
        hint = next((f" (is {match[0]!r} meant to be {name!r}?)" for name, match in close if match), "")
        raise InvalidInput(
            f"{len(missing)} of the model's {len(expected)} columns are missing: {_preview(missing, _SHOWN_MISSING)}; "
            f"found {_preview(found)}{hint}",
            field=missing[0],
        )
    for name in expected:
        if counts[name] > 1:
            raise InvalidInput(f"column {name!r} appears {counts[name]} times; rename all but one", field=name)


def check_names(names: tuple[str, ...]) -> None:
    """Raise InvalidInput that lists all names that are empty, cannot be printed or appear more than once."""
    problems = [("", f"column {d + 1} has no name; name it in the header") for d, name in enumerate(names) if not name]
    for name, count in Counter(filter(None, names)).items():
        if not name.isprintable():
            problems.append((name, f"column {name!r} has characters in its name that cannot be printed; rename it"))
        if count > 1:
            problems.append((name, f"column {name!r} appears {count} times; rename all but one"))
    if problems:
        raise InvalidInput("; ".join(text for _, text in problems), field=problems[0][0] or None)


def check_not_infinite(rows: FloatArray, names: tuple[str, ...], numbers: NDArray[np.integer] | None = None) -> None:
    """Raise InvalidInput naming the first row, by its number or from 0, and column that holds an infinity."""
    bad = np.isinf(rows)
    if not bad.any():
        return
    i, d = (int(index) for index in np.argwhere(bad)[0])
    row = i if numbers is None else int(numbers[i])
    raise InvalidInput(
        f"row {row}, column {names[d]!r} is {rows[i, d]}; {int(bad.any(axis=1).sum())} of {len(rows)} rows hold an "
        "infinity. Use NaN for missing cells, and leave other such rows out",
        field=names[d],
    )


def read_columns(reader: CellReader, cells: Sequence[Cells], numbers: NDArray[np.integer] | None = None) -> FloatArray:
    """Return the cells of columns as numbers (N, columns); raise InvalidInput for the first that cannot be read.

    Args:
        reader: Reads the cells.
        cells: The columns.
        numbers: The number of each row in messages, shape (N,); None to count from 0.
    """
    num_rows = next((len(each) for each in cells if each.form != "unusable"), 0)
    rows = np.empty((num_rows, len(cells)))
    for d, (name, each) in enumerate(zip(reader.names, cells, strict=True)):
        if each.form == "unusable":
            raise reader.drift(name, each.described)  # it has no cells to count
        if len(each) != num_rows:
            raise InvalidInput(f"column {name!r} has {len(each)} rows, {reader.names[0]!r} has {num_rows}", field=name)
        rows[:, d], bad = read_cells(reader, name, each)
        if bad:
            i, text = next(iter(bad.items()))
            row = i if numbers is None else int(numbers[i])
            cell, is_other_type, _ = text.rpartition(" is not a ")
            if is_other_type and np.isnan(rows[:, d]).all():
                raise reader.drift(name, f"text such as {cell}")
            raise InvalidInput(
                f"row {row}, column {name!r}: {text}; {len(bad)} such cells. Use NaN or None for missing cells, or "
                "name the text in missing_values",
                field=name,
            )
    return rows


def _array_rows(array: NDArray[Any], schema: Schema, owner: str) -> FloatArray:
    """Return the cells of the columns that the model uses, from an array of all columns of the training table."""
    inputs = schema.all_inputs
    if array.shape[1] != len(inputs):
        raise InvalidInput(
            f"X has {array.shape[1]} features, but {owner} is expecting {len(inputs)} features as input: "
            f"{_preview([each.name for each in inputs])}"
        )
    reader = schema.reader()
    used = range(len(inputs)) if len(inputs) == len(reader.inputs) else [d for d, e in enumerate(inputs) if e.is_read]
    if array.dtype.kind in "fiub" and schema.reads_only_numbers:
        if array.dtype.kind != "f" and array.dtype.itemsize == 8:
            return read_columns(reader, [cells_of(array[:, d]) for d in used])  # whole numbers that float64 may round
        rows = np.ascontiguousarray(array, dtype=np.float64)
        return reader.markers.without(rows if len(used) == len(inputs) else rows[:, used])
    return read_columns(reader, [cells_of(array[:, d]) for d in used])


def _shaped_rows(array: NDArray[Any], schema: Schema, owner: str) -> FloatArray:
    """Return windows or images as rows. Their cells are plain numbers, so that no reader of each column is needed."""
    flat = flattened(array, schema, owner)
    if array.dtype.kind not in "fiub" or not _is_exact(flat):
        return _array_rows(flat, schema, owner)
    return Markers(schema.missing_values).without(np.ascontiguousarray(flat, dtype=np.float64))


def _is_exact(array: NDArray[Any]) -> bool:
    """Return whether float64 holds the numbers, as far as it can."""
    if array.dtype.kind not in "iu" or array.dtype.itemsize < 8 or array.size == 0:
        return True
    return bool(array.min() >= -_EXACT and array.max() <= _EXACT)


def collected(data: Any) -> Any:
    """Return the rows of a polars LazyFrame; other data as they are."""
    return data.collect() if type(data).__name__ == "LazyFrame" else data


def named_columns(data: Any, names: tuple[str, ...]) -> list[Any]:
    """Return the named columns of a DataFrame, an Arrow table or a structured array."""
    if hasattr(data, "column_names"):
        return [data.column(name) for name in names]
    if hasattr(data, "columns"):
        own = {str(name): name for name in data.columns}  # names in a DataFrame may be numbers
        return [data[own[name]] for name in names]
    columns = [data[name] for name in names]
    return [_filled(column) if np.ma.isMaskedArray(column) else column for column in columns]


def _matrix(data: Any, expected: str) -> NDArray[Any]:
    array = _array(data)
    if array.ndim != 2:
        hint = ". Reshape your data: x.reshape(1, -1) for a single row" if array.ndim == 1 else ""
        raise InvalidInput(f"expected a 2-D array {expected}, got shape {array.shape}{hint}")
    if array.shape[1] == 0:
        raise InvalidInput(f"got 0 columns: 0 feature(s) (shape={array.shape}) while a minimum of 1 is required.")
    return array


def _array(data: Any) -> NDArray[Any]:
    if hasattr(data, "toarray") and hasattr(data, "nnz"):
        raise InvalidInput("the array is a sparse matrix; give a dense array (X.toarray())")
    array = _filled(data) if np.ma.isMaskedArray(data) else np.asarray(data)
    if array.dtype.kind == "c":
        raise InvalidInput("Complex data not supported: give real numbers")
    if array.dtype.kind not in "OUTSfiubMm":
        raise InvalidInput(f"the array holds {array.dtype} values, expected numbers or texts")
    return array


def _filled(data: Any) -> NDArray[Any]:
    """Return a masked array with its masked cells missing."""
    mask = np.ma.getmaskarray(data)
    if data.dtype.kind in "fMm":
        return np.where(mask, np.array("NaT" if data.dtype.kind != "f" else np.nan, data.dtype), data.data)
    cells = data.data.astype(object)
    cells[mask] = None
    return np.asarray(cells)


def _preview(names: Sequence[str], most: int = _SHOWN_NAMES) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
