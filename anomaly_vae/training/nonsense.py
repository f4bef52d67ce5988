"""The release gate that fails a model whose threshold flags nothing, and the rows of nonsense that it must flag."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.bundle.manifest import Gate
from anomaly_vae.columns.schema import Schema
from anomaly_vae.columns.shapes import ImageShape

__all__ = ["flags_nonsense", "nonsense_rows"]

# Every number is multiplied by this. Chosen, not measured: about the largest mistake of units, grams for kilograms.
_FACTOR = 1000.0

# Rows of nonsense at most. Chosen, not measured: each needs the thorough search, 4,096 decoder evaluations.
_MAX_ROWS = 100

# Share of the rows of nonsense that must be flagged. Chosen, not measured: nearly all, but some leave the range of
# training by little.
_LEAST_FLAGGED = 0.95

# The largest number, in absolute value: float64 ends at 1.8e308.
_LARGEST = 1e300


def nonsense_rows(schema: Schema, train: FloatArray, rows: FloatArray) -> FloatArray:
    """Return rows (N, D) with every number multiplied by 1,000; images of noise for images.

    Rows whose numbers all stay within the values of training are left out: zeros, and columns that span many orders of
    magnitude. Categories are kept. Columns of 0 and 1, which are categories as well, are changed only in a table
    without other numbers: 1,000 is new to them, and would say nothing about the other columns. A table of text has no
    nonsense: categories in random combinations can be normal rows.

    Args:
        schema: The columns.
        train: Training rows, shape (n, D).
        rows: Rows to change, shape (N, D).
    """
    if isinstance(schema.shape, ImageShape):
        return _noise(schema, schema.shape, len(rows[:_MAX_ROWS]))
    kinds = np.array([schema.columns[d].kind for d in schema.modelled])
    is_number = np.isin(kinds, ("continuous", "integer", "count"))
    scaled = schema.modelled[is_number if is_number.any() else kinds == "binary"]
    nonsense = rows.copy()
    with np.errstate(over="ignore"):
        nonsense[:, scaled] = numbers = np.clip(rows[:, scaled] * _FACTOR, -_LARGEST, _LARGEST)
    known = np.concatenate([train, rows])[:, scaled]
    low, high = np.fmin.reduce(known, axis=0), np.fmax.reduce(known, axis=0)  # they ignore NaN
    leaves: NDArray[np.bool_] = ((numbers < low) | (numbers > high)).any(axis=1)
    return nonsense[leaves][:_MAX_ROWS]


def _noise(schema: Schema, shape: ImageShape, num_rows: int) -> FloatArray:
    """Return images of which each value is drawn from the whole range: pixels cannot leave it."""
    rng = np.random.default_rng(0)
    values = rng.uniform(shape.low, shape.high, size=(num_rows, shape.num_cells))
    binary = np.array([column.kind == "binary" for column in schema.columns])
    whole = np.array([column.kind == "integer" for column in schema.columns]) | binary
    values[:, binary] = rng.random((num_rows, int(binary.sum())))
    values[:, whole] = np.round(values[:, whole])
    constants = [d for d, column in enumerate(schema.columns) if column.value is not None]
    values[:, constants] = [float(schema.columns[d].value or 0.0) for d in constants]
    return values


def flags_nonsense(flagged: NDArray[np.bool_], schema: Schema) -> Gate:
    """Check that the threshold flags rows of nonsense: a model that flags none of them can flag nothing.

    Args:
        flagged: Whether each row of :func:`nonsense_rows` is flagged, shape (N,).
        schema: The columns.
    """
    name = "flags nonsense"
    if not len(flagged):
        return Gate(name=name, passed=None, detail=f"no number leaves its range when multiplied by {_FACTOR:,g}")
    found, total = int(flagged.sum()), len(flagged)
    least = min(math.ceil(_LEAST_FLAGGED * total), max(total - 1, 1))  # of few rows, one may be missed
    passed = found >= least
    what = f"held-out rows are flagged when their numbers are multiplied by {_FACTOR:,g}"
    if isinstance(schema.shape, ImageShape):
        what = "images of noise are flagged"
    detail = f"{found} of {total} {what}, expected at least {least}"
    hint = "" if passed else ": the threshold is too low to find anything. Look for extreme values, or use more rows"
    return Gate(name=name, passed=passed, detail=detail + hint)
