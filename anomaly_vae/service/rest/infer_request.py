"""A request for scores over HTTP: JSON, and behind it the values of tensors as bytes (Triton's extension)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from anomaly_vae.service.call_errors import invalid
from anomaly_vae.service.pb import inference_pb2 as pb
from anomaly_vae.service.rpc.inference_parameters import check_parameters
from anomaly_vae.service.rpc.tensors import check_id

__all__ = ["InferRequest", "Tensor", "parse_request"]

Parameters = dict[str, bool | int | float | str]

# Chosen, not measured: a model of windows has 4 dimensions with its rows; more than 8 only cost memory.
_MOST_DIMENSIONS = 8
_MOST_OUTPUTS = 64  # chosen, not measured: ten times the outputs there are


class _JsonTensor(msgspec.Struct):
    name: str
    datatype: str
    shape: list[int]
    data: msgspec.Raw = msgspec.Raw()
    parameters: Parameters = {}


class _JsonOutput(msgspec.Struct):
    name: str
    parameters: Parameters = {}


class _JsonRequest(msgspec.Struct):
    inputs: list[_JsonTensor]
    id: str = ""
    parameters: Parameters = {}
    outputs: list[_JsonOutput] = []


_NO_DATA = (b"", b"null")
_DECODER = msgspec.json.Decoder(_JsonRequest)


@dataclass(frozen=True)
class Tensor:
    """An input.

    Attributes:
        name, datatype, shape: As in the request.
        json: The values in JSON, or None.
        binary: The values as little-endian bytes, or None.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    json: bytes | None
    binary: bytes | None


@dataclass(frozen=True)
class InferRequest:
    """A request, of which all but the values is checked as far as the model is not needed for it.

    Attributes:
        head: Its id, parameters and outputs, and the model of its path: what it has in common with a request over gRPC.
        inputs: The inputs.
        binary: Names of the outputs to return as bytes; None for all.
    """

    head: pb.ModelInferRequest
    inputs: tuple[Tensor, ...]
    binary: frozenset[str] | None


def parse_request(data: bytes, json_length: int | None, model: tuple[str, str], most_inputs: int) -> InferRequest:
    """Parse a request.

    Args:
        data: The body.
        json_length: Bytes of the JSON at its start; None for all.
        model: Name and version; the version may be empty.
        most_inputs: The most inputs that it may have.

    Raises:
        CallError: INVALID_ARGUMENT naming the field.
    """
    if json_length is not None and json_length > len(data):
        raise invalid("Inference-Header-Content-Length", f"is {json_length}, the body has {len(data)} bytes")
    request = _decoded(data if json_length is None else memoryview(data)[:json_length])
    check_id(request.id, "id")
    if not request.inputs:
        raise invalid("inputs", "has none; give 'x' with all rows, or one input for each column")
    if len(request.inputs) > most_inputs:
        raise invalid("inputs", f"has {len(request.inputs)} entries, a request may have {most_inputs}")
    if len(request.outputs) > _MOST_OUTPUTS:
        raise invalid("outputs", f"has {len(request.outputs)} entries, a request may have {_MOST_OUTPUTS}")
    head = pb.ModelInferRequest(model_name=model[0], model_version=model[1], id=request.id)
    _copy(request.parameters, head.parameters, "parameters")
    for i, output in enumerate(request.outputs):
        _copy(output.parameters, head.outputs.add(name=output.name).parameters, f"outputs[{i}].parameters")
    return InferRequest(head, _tensors(request, data, json_length), _binary_outputs(request))


def _decoded(data: bytes | memoryview) -> _JsonRequest:
    try:
        return _DECODER.decode(data)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `$")
        raise invalid(place.rstrip("`").removeprefix(".") or "body", f"{text[:1].lower()}{text[1:]}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid("body", f"is no JSON in UTF-8: {str(error).removeprefix('JSON is malformed: ')}") from error
    except RecursionError as error:
        raise invalid("body", "is nested too deeply; see GET /v2/models/NAME for the shape of x") from error


def _tensors(request: _JsonRequest, data: bytes, json_length: int | None) -> tuple[Tensor, ...]:
    """Return the inputs, each with its part of the bytes behind the JSON."""
    start, tensors = len(data) if json_length is None else json_length, []
    for i, found in enumerate(request.inputs):
        field = f"inputs[{i}]"
        if len(found.shape) > _MOST_DIMENSIONS:
            raise invalid(f"{field}.shape", f"has {len(found.shape)} dimensions, see GET /v2/models/NAME for its shape")
        check_parameters(_copied(found.parameters, f"{field}.parameters"), f"{field}.parameters")
        size = found.parameters.get("binary_data_size")
        json = bytes(found.data)
        if (size is None) is (json in _NO_DATA):
            raise invalid(f"{field}.data", "must be given, unless the parameter binary_data_size is")
        binary = None
        if size is not None:
            if type(size) is not int or not 0 <= size <= len(data) - start:
                text = f"is {str(size)[:40]!r}, {len(data) - start} bytes are left behind the JSON for this input"
                raise invalid(f"{field}.parameters.binary_data_size", text)
            binary = data[start : start + size]
            start += size
        values = json if binary is None else None
        tensors.append(Tensor(found.name, found.datatype, tuple(found.shape), values, binary))
    if start != len(data):
        raise invalid("body", f"has {len(data) - start} bytes behind the JSON that no binary_data_size claims")
    return tuple(tensors)


def _binary_outputs(request: _JsonRequest) -> frozenset[str] | None:
    """Return the names of the outputs that are wanted as bytes; None for all."""
    everything = request.parameters.get("binary_data_output", False) is True
    if not request.outputs:
        return None if everything else frozenset()
    return frozenset(
        output.name for output in request.outputs if output.parameters.get("binary_data", everything) is True
    )


def _copied(parameters: Parameters, field: str) -> dict[str, pb.InferParameter]:
    copied = pb.ModelInferRequest()
    _copy(parameters, copied.parameters, field)
    return dict(copied.parameters)


def _copy(parameters: Parameters, into: Any, field: str) -> None:
    """Copy parameters into those of a message of gRPC."""
    for name, value in parameters.items():
        try:
            match value:
                case bool():
                    into[name].bool_param = value
                case int():
                    into[name].int64_param = value
                case float():
                    into[name].double_param = value
                case str():
                    into[name].string_param = value
        except (ValueError, UnicodeEncodeError) as error:
            raise invalid(field, f"{name[:40]!r} is a number or text that the service cannot use") from error
