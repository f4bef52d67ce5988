"""Matrices on the wire, and what every request is held to, whatever service it comes by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from anomaly_vae.densities import FloatArray
from anomaly_vae.errors import InvalidInput
from anomaly_vae.rows import check_not_infinite
from anomaly_vae.schema import Schema
from anomaly_vae.service.config import ServeConfig
from anomaly_vae.service.faults import invalid
from anomaly_vae.wire import fields

__all__ = [
    "LONGEST_SHAPE",
    "SMALL_MESSAGE",
    "TensorFields",
    "check_claim",
    "check_id",
    "checked_values",
    "claimed_rows",
    "few",
    "matrix_of",
]

# Below this many bytes no message can grow to much: an empty submessage of two bytes becomes about fifty.
SMALL_MESSAGE = 2**18

# Bytes of a packed shape; more dimensions than that have not two.
LONGEST_SHAPE = 40

_DTYPES: dict[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "FP64": np.dtype("<f8")}
_LONGEST_ID = 128


class TensorFields(NamedTuple):
    """What a service calls the parts of a tensor, for whoever must correct one.

    Attributes:
        dtype, shape, data: Fields of the request.
        see: The method that tells the model's columns.
    """

    dtype: str
    shape: str
    data: str
    see: str


def claimed_rows(dtype: str, shape: Sequence[int], num_bytes: int) -> int:
    """How many rows a tensor has, 0 where its claim does not fit its bytes."""
    found = _DTYPES.get(dtype)
    if found is None or len(shape) != 2 or min(shape) < 1:
        return 0
    return int(shape[0]) if shape[0] * shape[1] * found.itemsize == num_bytes else 0


def check_claim(
    dtype: str, shape: Sequence[int], num_bytes: int, schema: Schema, limits: ServeConfig, names: TensorFields
) -> np.dtype[Any]:
    """The type of a tensor whose values take so many bytes, if it may have and has the shape it claims.

    Raises:
        Fault: INVALID_ARGUMENT naming the field.
    """
    found = _DTYPES.get(dtype)
    if found is None:
        raise invalid(names.dtype, f"is {dtype[:20]!r}, expected FP32 or FP64")
    if len(shape) != 2:
        raise invalid(names.shape, f"has {len(shape)} dimensions, expected 2: rows, columns")
    num_rows, num_columns = shape
    if not 1 <= num_rows <= limits.max_rows:
        raise invalid(names.shape, f"has {num_rows} rows, a request may have 1 to {limits.max_rows}")
    if num_columns != len(schema.columns):
        raise invalid(names.shape, f"has {num_columns} columns, the model has {len(schema.columns)}; see {names.see}")
    expected = num_rows * num_columns * found.itemsize
    if num_bytes != expected:
        raise invalid(names.data, f"has {num_bytes} bytes, expected {expected}: {num_rows} x {num_columns} {dtype}")
    return found


def matrix_of(
    data: bytes, dtype: str, shape: Sequence[int], schema: Schema, limits: ServeConfig, names: TensorFields
) -> FloatArray:
    """Rows from little-endian row-major bytes, float64, shape (N, D).

    Raises:
        Fault: INVALID_ARGUMENT naming the field.
    """
    found = check_claim(dtype, shape, len(data), schema, limits, names)
    with np.errstate(invalid="ignore"):  # a signalling NaN is a missing cell like any other
        return np.asarray(np.frombuffer(data, found).reshape(tuple(shape)), dtype=np.float64)


def checked_values(rows: FloatArray, schema: Schema, field: str) -> FloatArray:
    """Rows that hold no infinity; each missing cell the same NaN, since a signalling one would warn at every step.

    Raises:
        Fault: INVALID_ARGUMENT naming the field.
    """
    try:
        check_not_infinite(rows, schema.names)
    except InvalidInput as error:
        raise invalid(field, str(error)) from error
    missing = np.isnan(rows)
    return np.where(missing, np.nan, rows) if missing.any() else rows


def check_id(text: str, field: str) -> None:
    """Raise INVALID_ARGUMENT if a request's name for itself cannot be sent back."""
    if len(text) > _LONGEST_ID or not text.isprintable():
        raise invalid(field, f"must have at most {_LONGEST_ID} printable characters")


def few(data: bytes, most: int, field: str) -> list[tuple[int, int | bytes]]:
    """The fields of a message that is not parsed yet: see :func:`anomaly_vae.wire.fields`.

    Raises:
        Fault: INVALID_ARGUMENT as soon as there are more of them.
        WireError: The bytes are no protobuf message.
    """
    found: list[tuple[int, int | bytes]] = []
    for item in fields(data):
        if len(found) == most:
            raise invalid(field, "has more entries than a request may have; see the limits in GetModel")
        found.append(item)
    return found
