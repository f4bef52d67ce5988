"""Requests to rows and scores to replies: every number a request claims is checked before anything is made of it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from anomaly_vae.densities import FloatArray
from anomaly_vae.errors import InvalidInput
from anomaly_vae.rows import check_not_infinite, match_columns, text_of
from anomaly_vae.schema import UNSEEN, Column, Schema
from anomaly_vae.scores import Flags, Scores
from anomaly_vae.service.config import ServeConfig
from anomaly_vae.service.faults import invalid
from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.wire import WireError, fields

__all__ = ["count_rows", "fill_reply", "parse_request", "rows_of"]

_DTYPES: dict[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "FP64": np.dtype("<f8")}
_LONGEST_NAME = 256
_LONGEST_ID = 128

# Below this many bytes no message can grow to much: an empty submessage of two bytes becomes about fifty.
_SMALL_MESSAGE = 2**18
_TENSOR, _COLUMNS, _SHAPE, _STRINGS = 6, 7, 3, 3
_MOST_FIELDS, _MOST_IN_COLUMN = 64, 8
_LONGEST_SHAPE = 40


def parse_request(data: bytes, limits: ServeConfig) -> pb.ScoreRequest:
    """Parse a ScoreRequest.

    Raises:
        Fault: The bytes are none, or hold more entries than a request may have.
    """
    try:
        if len(data) > _SMALL_MESSAGE:
            _check_counts(data, limits)
        request: pb.ScoreRequest = pb.ScoreRequest.FromString(data)
    except (DecodeError, WireError) as error:
        raise invalid("ScoreRequest", "the message cannot be parsed; is it built from scoring.proto?") from error
    if len(request.request_id) > _LONGEST_ID or not request.request_id.isprintable():
        raise invalid("request_id", f"must have at most {_LONGEST_ID} printable characters")
    return request


def count_rows(request: pb.ScoreRequest) -> int:
    """How many rows a request has, 0 where its claim does not fit its bytes."""
    if request.WhichOneof("rows") == "columns":
        return max((_length(column) for column in request.columns.column), default=0)
    dtype, shape = _DTYPES.get(request.tensor.dtype), request.tensor.shape
    if dtype is None or len(shape) != 2 or min(shape) < 1:
        return 0
    num_rows = int(shape[0])
    return num_rows if num_rows * shape[1] * dtype.itemsize == len(request.tensor.data) else 0


def rows_of(request: pb.ScoreRequest, schema: Schema, limits: ServeConfig) -> FloatArray:
    """The rows of a request in the schema's order, float64, NaN where a cell is missing, shape (N, D).

    Raises:
        Fault: INVALID_ARGUMENT naming the field.
    """
    match request.WhichOneof("rows"):
        case "tensor":
            rows, field = _tensor_rows(request.tensor, schema, limits), "tensor.data"
        case "columns":
            rows, field = _column_rows(request.columns, schema, limits), "columns"
        case _:
            raise invalid("rows", "the request has no rows; set tensor or columns")
    try:
        check_not_infinite(rows, schema.names)
    except InvalidInput as error:
        raise invalid(field, str(error)) from error
    return rows


def fill_reply(reply: pb.ScoreResponse, scores: Scores | Flags) -> None:
    """Copy scores or decisions into a reply, one entry per row."""
    if scores.is_anomaly is not None:
        reply.is_anomaly.extend(scores.is_anomaly.tolist())
    reply.num_samples.extend(scores.num_samples.tolist())
    reply.reason.extend(reason or "" for reason in scores.reason)
    if isinstance(scores, Flags):
        return
    reply.log_px.extend(scores.log_px.tolist())
    reply.score.extend(scores.score.tolist())
    reply.elbo.extend(scores.elbo.tolist())
    reply.std_error.extend(scores.std_error.tolist())
    reply.ess_ratio.extend(scores.ess_ratio.tolist())
    reply.pareto_k.extend(scores.pareto_k.tolist())
    reply.reliable.extend(scores.reliable.tolist())
    if scores.p_value is not None:
        reply.p_value.extend(scores.p_value.tolist())


def _tensor_rows(tensor: pb.Tensor, schema: Schema, limits: ServeConfig) -> FloatArray:
    dtype = _DTYPES.get(tensor.dtype)
    if dtype is None:
        raise invalid("tensor.dtype", f"is {tensor.dtype[:20]!r}, expected FP32 or FP64")
    if len(tensor.shape) != 2:
        raise invalid("tensor.shape", f"has {len(tensor.shape)} dimensions, expected 2: rows, columns")
    num_rows, num_columns = tensor.shape
    if not 1 <= num_rows <= limits.max_rows:
        raise invalid("tensor.shape", f"has {num_rows} rows, a request may have 1 to {limits.max_rows}")
    if num_columns != len(schema.columns):
        raise invalid("tensor.shape", f"has {num_columns} columns, the model has {len(schema.columns)}; see GetModel")
    expected = num_rows * num_columns * dtype.itemsize
    if len(tensor.data) != expected:
        raise invalid(
            "tensor.data",
            f"has {len(tensor.data)} bytes, expected {expected}: {num_rows} x {num_columns} {tensor.dtype}",
        )
    values = np.frombuffer(tensor.data, dtype).reshape(num_rows, num_columns)
    return np.asarray(values, dtype=np.float64)


@dataclass(frozen=True)
class _Values:
    field: str
    values: FloatArray


def _column_rows(columns: pb.Columns, schema: Schema, limits: ServeConfig) -> FloatArray:
    if len(columns.column) > limits.max_columns:
        raise invalid("columns", f"has {len(columns.column)} columns, a request may have {limits.max_columns}")
    names = tuple(column.name for column in columns.column)
    for i, name in enumerate(names):
        if not 0 < len(name) <= _LONGEST_NAME:
            raise invalid(f"columns.column[{i}].name", f"must have 1 to {_LONGEST_NAME} characters, has {len(name)}")
    try:
        match_columns(names, schema.names)
    except InvalidInput as error:
        raise invalid("columns", str(error)) from error
    known = {column.name: column for column in schema.columns}
    found = {
        column.name: _values(i, column, known[column.name])
        for i, column in enumerate(columns.column)
        if column.name in known
    }
    first = found[schema.names[0]]
    num_rows = len(first.values)
    if not 1 <= num_rows <= limits.max_rows:
        raise invalid(first.field, f"has {num_rows} rows, a request may have 1 to {limits.max_rows}")
    for name, column in found.items():
        if len(column.values) != num_rows:
            raise invalid(column.field, f"{name!r} has {len(column.values)} rows, {schema.names[0]!r} has {num_rows}")
    return np.column_stack([found[name].values for name in schema.names])


def _length(column: pb.Column) -> int:
    return len(column.strings.value) if column.HasField("strings") else len(column.fp64) // 8


def _values(i: int, column: pb.Column, known: Column) -> _Values:
    field = f"columns.column[{i}].{column.WhichOneof('values') or 'values'}"
    if column.HasField("strings"):
        if known.categories is None:
            raise invalid(field, f"{column.name!r} holds text, the model's column numbers; set fp64")
        return _Values(field, _codes(column.strings.value, known.categories))
    if not column.HasField("fp64"):
        expected = "fp64, little-endian doubles" if known.categories is None else "strings"
        raise invalid(field, f"{column.name!r} holds no values; set {expected}")
    if len(column.fp64) % 8:
        raise invalid(field, f"{column.name!r} has {len(column.fp64)} bytes, expected a multiple of 8 (doubles)")
    values = np.frombuffer(column.fp64, "<f8")
    if known.categories is None:
        return _Values(field, values)
    return _Values(field, _codes(values.tolist(), known.categories))


def _codes(values: Iterable[str | float], categories: tuple[str, ...]) -> FloatArray:
    """Indices of texts, or of numbers as text, into the categories; NaN for a missing cell."""
    codes: dict[str | None, float] = {text: float(i) for i, text in enumerate(categories)}
    codes[None] = math.nan
    return np.array([codes.get(text_of(value), UNSEEN) for value in values])


def _check_counts(data: bytes, limits: ServeConfig) -> None:
    """Refuse what would take many times its size once parsed: floods of columns, strings or dimensions."""
    num_columns = 0
    for number, value in _few(data, _MOST_FIELDS, "ScoreRequest"):
        if number == _TENSOR and isinstance(value, bytes):
            _check_shape(value)
        elif number == _COLUMNS and isinstance(value, bytes):
            columns = _few(value, limits.max_columns - num_columns, "columns")
            num_columns += len(columns)
            for _, column in columns:
                if isinstance(column, bytes):
                    _check_column(column, limits.max_rows)


def _check_shape(tensor: bytes) -> None:
    for number, value in _few(tensor, _MOST_FIELDS, "tensor"):
        if number == _SHAPE and isinstance(value, bytes) and len(value) > _LONGEST_SHAPE:
            raise invalid("tensor.shape", "has too many dimensions, expected 2: rows, columns")


def _check_column(column: bytes, max_rows: int) -> None:
    for number, value in _few(column, _MOST_IN_COLUMN, "columns.column"):
        if number == _STRINGS and isinstance(value, bytes):
            _few(value, max_rows, "columns.column.strings")


def _few(data: bytes, most: int, field: str) -> list[tuple[int, int | bytes]]:
    found: list[tuple[int, int | bytes]] = []
    for item in fields(data):
        if len(found) == most:
            raise invalid(field, "has more entries than a request may have; see the limits in GetModel")
        found.append(item)
    return found
