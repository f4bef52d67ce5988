"""Requests for scores over HTTP, and their replies, as a message format."""

from __future__ import annotations

import math
import re
from typing import Any, cast

import msgspec
import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.schema import Schema
from anomaly_vae.scores import Flags, Scores
from anomaly_vae.service.call_errors import CallError, invalid
from anomaly_vae.service.pb import scoring_pb2
from anomaly_vae.service.rest.infer_request import InferRequest, Tensor, parse_request
from anomaly_vae.service.rest.json_values import check_layout, numbers_of, texts_of
from anomaly_vae.service.rpc.inference_format import InferenceFormat, serialised
from anomaly_vae.service.rpc.inference_messages import INPUT, OUTPUTS
from anomaly_vae.service.rpc.request_path import RequestOptions
from anomaly_vae.service.rpc.score_messages import rows_of
from anomaly_vae.service.rpc.tensors import TensorFields, check_claim, checked_values, claimed_rows, matrix_of
from anomaly_vae.service.scoring import Scoring
from anomaly_vae.service.served import Explanations, Served
from anomaly_vae.service.settings import ServeConfig

__all__ = ["RestFormat"]

_SEE = "GET /v2/models/NAME"
_BYTES = {"FP32": 4, "FP64": 8, "UINT8": 1}
_MATRIX = TensorFields("inputs[0].datatype", "inputs[0].shape", "inputs[0].data", _SEE)
_LARGEST_UINT8 = 255
# The fields of scoring.proto that errors in named columns name, and their numbers.
_COLUMN = re.compile(r"columns\.column\[(\d+)\]\.(\w+)")


class RestFormat:
    """The messages of one POST .../infer: see :class:`~anomaly_vae.service.rpc.request_path.MessageFormat`.

    Attributes:
        json_length: Bytes of the JSON at the start of the reply; None if the reply is nothing else.
    """

    def __init__(self, limits: ServeConfig, model: tuple[str, str], json_length: int | None) -> None:
        """Take what the path and the headers of the request say.

        Args:
            limits: Requests beyond them are refused.
            model: Name and version in the path; the version may be empty.
            json_length: Bytes of the JSON at the start of the body; None for all.
        """
        self._limits, self._model, self._request_json_length = limits, model, json_length
        self._same = InferenceFormat(limits, serialised)  # what the request has in common with one over gRPC
        self.json_length: int | None = None

    def parse(self, data: bytes) -> InferRequest:
        """Parse a request, and check all of it but its name, options and values."""
        return parse_request(data, self._request_json_length, self._model, self._limits.max_columns)

    def request_id(self, message: InferRequest) -> str:
        """Return the caller's name for the request."""
        return self._same.request_id(message.head)

    def pick(self, scoring: Scoring, message: InferRequest) -> Served:
        """Return the model that the path names."""
        return self._same.pick(scoring, message.head)

    def count_rows(self, served: Served, message: InferRequest) -> int:
        """Return the number of rows that the request claims."""
        if _is_matrix(served.scorer.schema, message):
            tensor = message.inputs[0]
            return claimed_rows(tensor.datatype, tensor.shape, _num_bytes(tensor))
        known = set(served.scorer.schema.names)
        return max((_length(tensor) for tensor in message.inputs if tensor.name in known), default=0)

    def options(self, served: Served, message: InferRequest) -> RequestOptions:
        """Return the checked options."""
        return self._same.options(served, message.head)

    def make_rows(self, served: Served, message: InferRequest) -> FloatArray:
        """Return the checked rows, (N, D)."""
        schema = served.scorer.schema
        if _is_matrix(schema, message):
            return checked_values(_matrix(message.inputs[0], schema, self._limits), schema, _MATRIX.data)
        columns = scoring_pb2.Columns(column=[_column(i, tensor) for i, tensor in enumerate(message.inputs)])
        try:
            return rows_of(scoring_pb2.ScoreRequest(columns=columns), schema, self._limits)
        except CallError as error:
            raise invalid(_renamed(error.field or ""), _renamed(error.text)) from error

    def write_reply(
        self,
        served: Served,
        message: InferRequest,
        options: RequestOptions,
        scores: Scores | Flags,
        _explanations: Explanations,
    ) -> bytes:
        """Return the body of the reply. The scores are never Flags, since the options have no ``flag_only``."""
        outputs: list[dict[str, Any]] = []
        behind: list[bytes] = []
        for name in options.outputs:
            values = getattr(cast(Scores, scores), name)
            output: dict[str, Any] = {"name": name, "datatype": OUTPUTS[name], "shape": [len(scores)]}
            if message.binary is None or name in message.binary:
                behind.append(values.astype("?" if OUTPUTS[name] == "BOOL" else "<f8", copy=False).tobytes())
                output["parameters"] = {"binary_data_size": len(behind[-1])}
            else:
                output["data"] = values.tolist()  # msgspec writes NaN and infinities, which JSON does not have, as null
            outputs.append(output)
        reply = {"model_name": served.name, "model_version": served.version, "outputs": outputs}
        if message.head.id:
            reply["id"] = message.head.id
        json = msgspec.json.encode(reply)
        self.json_length = len(json) if behind else None
        return b"".join([json, *behind])


def _is_matrix(schema: Schema, message: InferRequest) -> bool:
    """Return whether the request has all rows in one input, rather than one input for each column."""
    if len(message.inputs) != 1 or message.inputs[0].name != INPUT:
        return False
    return len(message.inputs[0].shape) != 1 or INPUT not in schema.names


def _num_bytes(tensor: Tensor) -> int:
    """Return the bytes that the values take as bytes. Those of JSON are counted by their commas."""
    if tensor.json is None:
        return len(tensor.binary or b"")
    return (tensor.json.count(b",") + 1) * _BYTES.get(tensor.datatype, 0)


def _matrix(tensor: Tensor, schema: Schema, limits: ServeConfig) -> FloatArray:
    datatype, shape = tensor.datatype, tensor.shape
    if tensor.json is None:
        return matrix_of(tensor.binary or b"", datatype, shape, schema, limits, _MATRIX)
    claimed = math.prod(shape) * _BYTES.get(datatype, 0)
    dtype = check_claim(datatype, shape, claimed, schema, limits, _MATRIX)
    check_layout(tensor.json, shape, _MATRIX.data)
    names = schema.column_names
    values = numbers_of(tensor.json, _MATRIX.data, lambda i: f"row {i // len(names)}, column {names[i % len(names)]!r}")
    if dtype.kind == "u" and not np.all((values >= 0) & (values <= _LARGEST_UINT8) & (values == np.floor(values))):
        raise invalid(_MATRIX.data, f"has a value that is no whole number from 0 to {_LARGEST_UINT8}, as UINT8 has")
    with np.errstate(over="ignore"):  # infinite in FP32: refused with its row and column
        return values.astype(dtype).astype(np.float64).reshape(shape[0], -1)


def _length(tensor: Tensor) -> int:
    """Return the number of rows that a column claims; 0 if the claim does not fit its bytes."""
    num_rows = math.prod(tensor.shape)
    if num_rows < 1 or tensor.json is None:
        return num_rows if tensor.binary and num_rows * _BYTES.get(tensor.datatype, 0) == len(tensor.binary) else 0
    return num_rows if tensor.datatype == "BYTES" or tensor.json.count(b",") + 1 == num_rows else 0


def _column(i: int, tensor: Tensor) -> scoring_pb2.Column:
    """Return a column of :class:`ScoreRequest`."""
    field, shape = f"inputs[{i}]", tensor.shape
    if len(shape) not in (1, 2) or min(shape) < 1 or shape[1:] not in ((), (1,)):
        raise invalid(
            f"{field}.shape", f"is {list(shape)}, expected [N] for the N values of the column {tensor.name[:40]!r}"
        )
    if tensor.datatype == "BYTES" and tensor.json is not None:
        texts = texts_of(tensor.json, f"{field}.data")
        strings = scoring_pb2.Strings(value=["" if text is None else text for text in texts])
        _check_count(field, len(texts), shape[0])
        return scoring_pb2.Column(name=tensor.name, strings=strings)
    if tensor.datatype not in ("FP32", "FP64"):
        raise invalid(
            f"{field}.datatype", f"is {tensor.datatype[:20]!r}, expected FP64, FP32, or in JSON BYTES for texts"
        )
    dtype = np.dtype("<f4" if tensor.datatype == "FP32" else "<f8")
    if tensor.json is not None:
        check_layout(tensor.json, shape, f"{field}.data")
        with np.errstate(over="ignore"):
            values = numbers_of(tensor.json, f"{field}.data", lambda i: f"row {i}").astype(dtype)
    else:
        binary = tensor.binary or b""
        _check_count(field, len(binary), shape[0] * dtype.itemsize)
        values = np.frombuffer(binary, dtype)
    return scoring_pb2.Column(name=tensor.name, fp64=values.astype("<f8").tobytes())


def _check_count(field: str, found: int, expected: int) -> None:
    if found != expected:
        raise invalid(f"{field}.data", f"has {found} values or bytes, the shape says {expected}")


def _renamed(text: str) -> str:
    """Return an error's text or field with the fields of scoring.proto named as in JSON."""
    parts = {"name": "name", "shape": "shape"}
    text = _COLUMN.sub(lambda found: f"inputs[{found[1]}].{parts.get(found[2], 'data')}", text)
    return "inputs" if text == "columns" else text
