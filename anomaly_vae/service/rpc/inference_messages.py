"""ModelInferRequest to rows, scores to ModelInferResponse. Every size that a request claims is checked first."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.schema import Schema
from anomaly_vae.scores import Scores
from anomaly_vae.service.call_errors import invalid
from anomaly_vae.service.pb import inference_pb2 as pb
from anomaly_vae.service.rpc.inference_parameters import check_parameters, check_size
from anomaly_vae.service.rpc.tensors import (
    LONGEST_SHAPE,
    SMALL_MESSAGE,
    TensorFields,
    check_claim,
    check_id,
    checked_values,
    claimed_rows,
    limited_fields,
    matrix_of,
)
from anomaly_vae.service.settings import ServeConfig
from anomaly_vae.wire import WireError

__all__ = [
    "INPUT",
    "OUTPUTS",
    "count_rows",
    "outputs_of",
    "parse_infer",
    "reply_of",
    "rows_of",
]

INPUT = "x"
OUTPUTS: Mapping[str, str] = {
    "log_px": "FP64",
    "elbo": "FP64",
    "std_error": "FP64",
    "p_value": "FP64",
    "score": "FP64",
    "is_anomaly": "BOOL",
}
_CALIBRATED = frozenset({"p_value", "is_anomaly"})  # exist for the calibrated budget only

# The typed contents for each data type; all other contents must be empty.
_CONTENTS = {"FP32": "fp32_contents", "FP64": "fp64_contents", "UINT8": "uint_contents"}

_RAW = TensorFields("inputs[0].datatype", "inputs[0].shape", "raw_input_contents[0]", "ModelMetadata")
_TYPED = _RAW._replace(data="inputs[0].contents")
# The most fields in a message. Chosen, not measured: twice the parameters that a request or a tensor may have.
_MOST_FIELDS = 128
_LARGEST_UINT8 = 255
# Numbers of fields in inference.proto.
_INPUTS, _OUTPUTS, _SHAPE, _TENSOR_CONTENTS = 5, 6, 3, 5
_UINTS = 4  # uint_contents
_NUMBERS = (_UINTS, 6, 7)  # and fp32_contents, fp64_contents
# The most bytes of uint_contents. A value takes one byte or two, and four once parsed. Chosen, not measured: they then
# take no more memory than the largest message of fp32_contents.
_MOST_UINT_BYTES = 2**22


def parse_infer(data: bytes) -> pb.ModelInferRequest:
    """Parse a ModelInferRequest, and check its id and its inputs, but not the values.

    Raises:
        CallError: The bytes are no ModelInferRequest, or do not hold exactly the one input with one kind of contents.
    """
    try:
        if len(data) > SMALL_MESSAGE:
            _check_counts(data)
        request: pb.ModelInferRequest = pb.ModelInferRequest.FromString(data)
    except (DecodeError, WireError) as error:
        raise invalid(
            "ModelInferRequest", "the message cannot be parsed; is it one of the Open Inference Protocol?"
        ) from error
    check_id(request.id, "id")
    _check_inputs(request)
    return request


def count_rows(request: pb.ModelInferRequest) -> int:
    """Return the number of rows that a request claims; 0 if the claim does not fit its values."""
    tensor = request.inputs[0]
    return claimed_rows(tensor.datatype, tensor.shape, _num_bytes(request))


def outputs_of(request: pb.ModelInferRequest, *, calibrated: bool) -> tuple[str, ...]:
    """Return the names of the outputs to return, in order: those that the request names, or all.

    Args:
        request: The request.
        calibrated: Whether the budget is the calibrated one. Other budgets have no p-values and no flags.

    Raises:
        CallError: INVALID_ARGUMENT naming an output that is unknown, repeated or not available.
    """
    names: list[str] = []
    for i, output in enumerate(request.outputs):
        if output.name not in OUTPUTS:
            raise invalid(f"outputs[{i}].name", f"is {output.name[:40]!r}, expected one of {', '.join(OUTPUTS)}")
        if output.name in names:
            raise invalid(f"outputs[{i}].name", f"{output.name!r} is requested twice; request it once")
        if output.name in _CALIBRATED and not calibrated:
            raise invalid(
                f"outputs[{i}].name", f"only the calibrated budget gives {output.name}; leave out num_samples"
            )
        check_parameters(output.parameters, f"outputs[{i}].parameters")
        names.append(output.name)
    return tuple(names) or tuple(name for name in OUTPUTS if calibrated or name not in _CALIBRATED)


def rows_of(request: pb.ModelInferRequest, schema: Schema, limits: ServeConfig) -> FloatArray:
    """Return the rows of a request: float64, (N, D), NaN for a missing cell.

    Raises:
        CallError: INVALID_ARGUMENT naming the field.
    """
    tensor = request.inputs[0]
    if request.raw_input_contents:
        field = _RAW.data
        rows = matrix_of(request.raw_input_contents[0], tensor.datatype, tensor.shape, schema, limits, _RAW)
    else:
        field = _TYPED.data
        rows = _typed_rows(tensor, schema, limits)
    check_size(tensor.parameters, "inputs[0].parameters", _num_bytes(request))
    return checked_values(rows, schema, field)


def reply_of(
    model: tuple[str, str], request_id: str, outputs: tuple[str, ...], scores: Scores
) -> pb.ModelInferResponse:
    """Return the reply: the outputs as raw contents, one value per row.

    Args:
        model: Name and version.
        request_id: The request's id.
        outputs: Names of outputs that the scores have.
        scores: The scores of all rows.
    """
    reply = pb.ModelInferResponse(model_name=model[0], model_version=model[1], id=request_id)
    for name in outputs:
        datatype = OUTPUTS[name]
        values: FloatArray | NDArray[np.bool_] = getattr(scores, name)
        reply.outputs.add(name=name, datatype=datatype, shape=(len(scores),))
        reply.raw_output_contents.append(values.astype("?" if datatype == "BOOL" else "<f8", copy=False).tobytes())
    return reply


def _check_inputs(request: pb.ModelInferRequest) -> None:
    """Raise INVALID_ARGUMENT if there is not exactly the one input, with contents of one kind."""
    for i, tensor in enumerate(request.inputs):
        if tensor.name != INPUT:
            raise invalid(f"inputs[{i}].name", f"is {tensor.name[:40]!r}, expected {INPUT!r}, the only input")
        if i:
            raise invalid(f"inputs[{i}].name", f"{INPUT!r} is given twice; give it once, with all rows")
        check_parameters(tensor.parameters, f"inputs[{i}].parameters")
    if not request.inputs:
        raise invalid("inputs", f"has none, expected one, {INPUT!r}")
    typed = request.inputs[0].HasField("contents")
    if len(request.raw_input_contents) > 1:
        raise invalid(
            "raw_input_contents", f"has {len(request.raw_input_contents)} entries, expected one for each input: 1"
        )
    if request.raw_input_contents and typed:
        raise invalid("inputs[0].contents", "is set although raw_input_contents is; leave one of them out")
    if not request.raw_input_contents and not typed:
        raise invalid("raw_input_contents", f"has no entry for {INPUT!r}; give its values there, or in contents")


def _num_bytes(request: pb.ModelInferRequest) -> int:
    """Return the bytes of the values as raw contents."""
    raw = request.raw_input_contents
    return len(raw[0]) if raw else _typed_bytes(request.inputs[0].contents)


def _typed_bytes(contents: pb.InferTensorContents) -> int:
    """Return the bytes that typed values would have as raw contents."""
    return 4 * len(contents.fp32_contents) + 8 * len(contents.fp64_contents) + len(contents.uint_contents)


def _typed_rows(tensor: pb.ModelInferRequest.InferInputTensor, schema: Schema, limits: ServeConfig) -> FloatArray:
    contents, wanted = tensor.contents, _CONTENTS.get(tensor.datatype)
    for found, _ in contents.ListFields():
        if wanted and found.name != wanted:
            raise invalid(_TYPED.data, f"has {found.name}, {tensor.datatype} values belong in {wanted}")
    check_claim(tensor.datatype, tensor.shape, _typed_bytes(contents), schema, limits, _TYPED)
    values = contents.fp32_contents or contents.fp64_contents or contents.uint_contents
    rows = np.fromiter(values, dtype=np.float64, count=len(values)).reshape(tensor.shape[0], -1)
    if tensor.datatype == "UINT8" and rows.max() > _LARGEST_UINT8:
        raise invalid(_TYPED.data, f"has {rows.max():.0f} in uint_contents, UINT8 values are 0 to {_LARGEST_UINT8}")
    return rows


def _check_counts(data: bytes) -> None:
    """Refuse too many tensors, parameters, dimensions or values, whose parsed form takes many times the bytes."""
    for number, value in limited_fields(data, _MOST_FIELDS, "ModelInferRequest"):
        if number == _INPUTS and isinstance(value, bytes):
            _check_input(value)
        elif number == _OUTPUTS and isinstance(value, bytes):
            limited_fields(value, _MOST_FIELDS, "outputs")


def _check_input(tensor: bytes) -> None:
    for number, value in limited_fields(tensor, _MOST_FIELDS, "inputs"):
        if number == _SHAPE and isinstance(value, bytes) and len(value) > LONGEST_SHAPE:
            raise invalid(_RAW.shape, "has too many dimensions; see ModelMetadata for the shape of a row")
        if number == _TENSOR_CONTENTS and isinstance(value, bytes):
            _check_contents(value)


def _check_contents(contents: bytes) -> None:
    uint_bytes = 0
    for kind, values in limited_fields(contents, _MOST_FIELDS, _TYPED.data):
        if kind not in _NUMBERS:
            raise invalid(_TYPED.data, "holds other values than fp32_contents, fp64_contents or uint_contents")
        if kind == _UINTS and isinstance(values, bytes):
            uint_bytes += len(values)
    if uint_bytes > _MOST_UINT_BYTES:
        raise invalid(
            _TYPED.data, f"has more than {_MOST_UINT_BYTES} bytes in uint_contents; send them in raw_input_contents"
        )
