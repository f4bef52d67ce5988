"""ScoreRequest to rows, scores to ScoreResponse. Every size that a request claims is checked before memory is used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from google.protobuf.message import DecodeError

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.reading.cells import CellReader
from anomaly_vae.columns.rows import check_not_infinite, match_columns
from anomaly_vae.columns.schema import Schema
from anomaly_vae.errors import InvalidInput
from anomaly_vae.scores import Flags, Scores
from anomaly_vae.service.call_errors import invalid
from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.rpc.tensors import (
    LONGEST_SHAPE,
    SMALL_MESSAGE,
    TensorFields,
    check_id,
    checked_values,
    claimed_rows,
    limited_fields,
    matrix_of,
)
from anomaly_vae.service.settings import ServeConfig
from anomaly_vae.wire import WireError

__all__ = ["count_rows", "fill_reply", "parse_request", "rows_of"]

# Characters of a column's name. Chosen, not measured: bounds error messages and memory.
_LONGEST_NAME = 256

_FIELDS = TensorFields("tensor.dtype", "tensor.shape", "tensor.data", "GetModel")
# Numbers of fields in scoring.proto.
_TENSOR, _COLUMNS, _SHAPE, _STRINGS = 6, 7, 3, 3
# The most fields in a message, and in a column. A request has 10 fields and a column has 3, but protobuf lets a sender
# repeat them. Chosen, not measured.
_MOST_FIELDS, _MOST_IN_COLUMN = 64, 8


def parse_request(data: bytes, limits: ServeConfig) -> pb.ScoreRequest:
    """Parse a ScoreRequest.

    Raises:
        CallError: The bytes are no ScoreRequest, or hold more entries than a request may have.
    """
    try:
        if len(data) > SMALL_MESSAGE:
            _check_counts(data, limits)
        request: pb.ScoreRequest = pb.ScoreRequest.FromString(data)
    except (DecodeError, WireError) as error:
        raise invalid("ScoreRequest", "the message cannot be parsed; is it built from scoring.proto?") from error
    check_id(request.request_id, "request_id")
    return request


def count_rows(request: pb.ScoreRequest, schema: Schema) -> int:
    """Return the number of rows that a request claims; 0 if the claim does not fit its bytes.

    Columns that the model does not have are ignored, as in :func:`rows_of`: they may have any length.
    """
    if request.WhichOneof("rows") == "columns":
        names = set(schema.names)
        return max((_length(column) for column in request.columns.column if column.name in names), default=0)
    return claimed_rows(request.tensor.dtype, request.tensor.shape, len(request.tensor.data))


def rows_of(request: pb.ScoreRequest, schema: Schema, limits: ServeConfig) -> FloatArray:
    """Return the rows of a request: float64, (N, D), columns in the schema's order, NaN for a missing cell.

    Raises:
        CallError: INVALID_ARGUMENT naming the field.
    """
    match request.WhichOneof("rows"):
        case "tensor":
            tensor, field = request.tensor, _FIELDS.data
            rows = matrix_of(tensor.data, tensor.dtype, tensor.shape, schema, limits, _FIELDS)
        case "columns":
            rows, field = _column_rows(request.columns, schema, limits), "columns"
        case _:
            raise invalid("rows", "the request has no rows; set tensor or columns")
    return checked_values(rows, schema, field)


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
    if scores.contrast is not None:
        reply.contrast.extend(scores.contrast.tolist())
    if scores.p_value is not None:
        reply.p_value.extend(scores.p_value.tolist())


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
    reader = schema.reader()
    known = set(reader.names)
    found = {column.name: _values(i, column, reader) for i, column in enumerate(columns.column) if column.name in known}
    first = found[schema.names[0]]
    num_rows = len(first.values)
    if not 1 <= num_rows <= limits.max_rows:
        raise invalid(first.field, f"has {num_rows} rows, a request may have 1 to {limits.max_rows}")
    for name, column in found.items():
        if len(column.values) != num_rows:
            raise invalid(column.field, f"{name!r} has {len(column.values)} rows, {schema.names[0]!r} has {num_rows}")
    cells = np.column_stack([found[name].values for name in schema.names])
    try:
        check_not_infinite(cells, schema.names)
    except InvalidInput as error:
        raise invalid("columns", str(error)) from error
    return schema.expand(cells)


def _length(column: pb.Column) -> int:
    return len(column.strings.value) if column.HasField("strings") else len(column.fp64) // 8


def _values(i: int, column: pb.Column, reader: CellReader) -> _Values:
    field = f"columns.column[{i}].{column.WhichOneof('values') or 'values'}"
    if column.HasField("strings"):
        return _Values(field, _texts(field, column, reader))
    if not column.HasField("fp64"):
        expected = "fp64, little-endian doubles" if reader.words(column.name) == "numbers" else "strings"
        raise invalid(field, f"{column.name!r} holds no values; set {expected}")
    if len(column.fp64) % 8:
        raise invalid(field, f"{column.name!r} has {len(column.fp64)} bytes, expected a multiple of 8 (doubles)")
    try:
        return _Values(field, reader.numbers(column.name, np.frombuffer(column.fp64, "<f8"), "fp64"))
    except InvalidInput as error:
        raise invalid(field, str(error)) from error


def _texts(field: str, column: pb.Column, reader: CellReader) -> FloatArray:
    try:
        values, bad = reader.texts(column.name, column.strings.value)
    except InvalidInput as error:
        raise invalid(field, str(error)) from error
    for row, text in bad.items():
        raise invalid(field, f"row {row}, column {column.name!r}: {text}")
    return values


def _check_counts(data: bytes, limits: ServeConfig) -> None:
    """Refuse too many columns, strings or dimensions, whose parsed form takes many times the bytes."""
    num_columns = 0
    for number, value in limited_fields(data, _MOST_FIELDS, "ScoreRequest"):
        if number == _TENSOR and isinstance(value, bytes):
            _check_shape(value)
        elif number == _COLUMNS and isinstance(value, bytes):
            columns = limited_fields(value, limits.max_columns - num_columns, "columns")
            num_columns += len(columns)
            for _, column in columns:
                if isinstance(column, bytes):
                    _check_column(column, limits.max_rows)


def _check_shape(tensor: bytes) -> None:
    for number, value in limited_fields(tensor, _MOST_FIELDS, "tensor"):
        if number == _SHAPE and isinstance(value, bytes) and len(value) > LONGEST_SHAPE:
            raise invalid("tensor.shape", "has too many dimensions; see GetModel for the shape of a row")


def _check_column(column: bytes, max_rows: int) -> None:
    for number, value in limited_fields(column, _MOST_IN_COLUMN, "columns.column"):
        if number == _STRINGS and isinstance(value, bytes):
            limited_fields(value, max_rows, "columns.column.strings")
