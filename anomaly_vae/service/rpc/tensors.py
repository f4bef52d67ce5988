"""Matrices in messages, and checks that the requests of all services share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.rows import check_not_infinite
from anomaly_vae.columns.schema import Schema
from anomaly_vae.columns.shaped_rows import describe_shapes, row_shapes
from anomaly_vae.errors import InvalidInput
from anomaly_vae.service.call_errors import invalid
from anomaly_vae.service.settings import ServeConfig
from anomaly_vae.wire import fields

__all__ = [
    "LONGEST_SHAPE",
    "SMALL_MESSAGE",
    "TensorFields",
    "check_claim",
    "check_id",
    "checked_values",
    "claimed_rows",
    "limited_fields",
    "matrix_of",
]

# Messages up to this many bytes are parsed without a walk over their fields first. An empty submessage of 2 bytes takes
# about 50 bytes once parsed, so that such a message takes about 6 MB at most.
SMALL_MESSAGE = 2**18

# The most bytes of a packed shape. Four dimensions, of images, take at most 40: a varint has at most 10 bytes. Twice
# that, so that some more dimensions still get the error that shows them.
LONGEST_SHAPE = 80

# Rows, height, width and channels.
_MOST_DIMENSIONS = 4

_DTYPES: dict[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "FP64": np.dtype("<f8"), "UINT8": np.dtype("u1")}
# Characters. Chosen, not measured: a UUID has 36, a trace id with its parent 55.
_LONGEST_ID = 128


class TensorFields(NamedTuple):
    """A service's names for the parts of a tensor, for error messages.

    Attributes:
        dtype, shape, data: Fields of the request.
        see: The method that returns the model's columns.
    """

    dtype: str
    shape: str
    data: str
    see: str


def claimed_rows(dtype: str, shape: Sequence[int], num_bytes: int) -> int:
    """Return the number of rows that a tensor claims; 0 if the claim does not fit its bytes."""
    found = _DTYPES.get(dtype)
    if found is None or not 2 <= len(shape) <= _MOST_DIMENSIONS or min(shape) < 1:
        return 0
    return int(shape[0]) if math.prod(shape) * found.itemsize == num_bytes else 0


def check_claim(
    dtype: str, shape: Sequence[int], num_bytes: int, schema: Schema, limits: ServeConfig, names: TensorFields
) -> np.dtype[Any]:
    """Check the claims of a tensor whose values have this many bytes, and return its type.

    Raises:
        CallError: INVALID_ARGUMENT naming the field.
    """
    found = _DTYPES.get(dtype)
    if found is None:
        raise invalid(names.dtype, f"is {dtype[:20]!r}, expected FP32, FP64 or UINT8")
    _check_dimensions(shape, schema, names)
    num_rows = shape[0]
    if not 1 <= num_rows <= limits.max_rows:
        raise invalid(names.shape, f"has {num_rows} rows, a request may have 1 to {limits.max_rows}")
    if tuple(shape[1:]) not in row_shapes(schema):
        raise invalid(names.shape, f"has {shape[1]} columns, the model has {len(schema.columns)}; see {names.see}")
    expected = math.prod(shape) * found.itemsize
    if num_bytes != expected:
        sizes = " x ".join(map(str, shape))
        raise invalid(names.data, f"has {num_bytes} bytes, expected {expected}: {sizes} {dtype}")
    return found


def _check_dimensions(shape: Sequence[int], schema: Schema, names: TensorFields) -> None:
    """Check the number of dimensions, and for windows and images all of them but the number of rows."""
    if schema.shape is None:
        if len(shape) != 2:
            raise invalid(names.shape, f"has {len(shape)} dimensions, expected 2: rows, columns")
    elif tuple(shape[1:]) not in row_shapes(schema):
        sizes = ", ".join(map(str, shape[: _MOST_DIMENSIONS + 1]))
        shown = f"[{sizes}{', ...' if len(shape) > _MOST_DIMENSIONS + 1 else ''}]"
        raise invalid(names.shape, f"is {shown}, expected {describe_shapes(schema)}; see {names.see}")


def matrix_of(
    data: bytes, dtype: str, shape: Sequence[int], schema: Schema, limits: ServeConfig, names: TensorFields
) -> FloatArray:
    """Return the rows in little-endian row-major bytes: float64, (N, D).

    Raises:
        CallError: INVALID_ARGUMENT naming the field.
    """
    found = check_claim(dtype, shape, len(data), schema, limits, names)
    with np.errstate(invalid="ignore"):  # a signalling NaN is a missing cell, like any other NaN
        return np.asarray(np.frombuffer(data, found).reshape(shape[0], -1), dtype=np.float64)


def checked_values(rows: FloatArray, schema: Schema, field: str) -> FloatArray:
    """Return the rows, with the same NaN in each missing cell: a signalling NaN would raise a warning at each step.

    Raises:
        CallError: INVALID_ARGUMENT naming the field, if a value is infinite.
    """
    if np.isinf(rows).any():
        try:
            check_not_infinite(rows, schema.column_names)
        except InvalidInput as error:
            raise invalid(field, str(error)) from error
    missing = np.isnan(rows)
    return np.where(missing, np.nan, rows) if missing.any() else rows


def check_id(text: str, field: str) -> None:
    """Raise INVALID_ARGUMENT if a request's id is too long or not printable, since it is sent back and logged."""
    if len(text) > _LONGEST_ID or not text.isprintable():
        raise invalid(field, f"must have at most {_LONGEST_ID} printable characters")


def limited_fields(data: bytes, most: int, field: str) -> list[tuple[int, int | bytes]]:
    """Return the fields of a message that is not parsed yet: see :func:`anomaly_vae.wire.fields`.

    Raises:
        CallError: INVALID_ARGUMENT if there are more than ``most`` fields.
        WireError: The bytes are no protobuf message.
    """
    found: list[tuple[int, int | bytes]] = []
    for item in fields(data):
        if len(found) == most:
            raise invalid(field, "has more entries than a request may have; see the limits in GetModel")
        found.append(item)
    return found
