"""Requests and replies of the Open Inference Protocol."""

from __future__ import annotations

import numpy as np

from anomaly_vae.service.pb import inference_pb2 as pb
from anomaly_vae.service.pb.inference_pb2_grpc import GRPCInferenceServiceStub
from anomaly_vae.service.rpc.inference_messages import OUTPUTS
from tests.support.data import make_rows

__all__ = [
    "BAD_ROWS",
    "DTYPES",
    "ROWS",
    "SHARED",
    "infer",
    "many_parameters",
    "number",
    "parameter",
    "raw",
    "request",
    "shaped",
    "sized",
    "stream",
    "typed",
    "values_of",
    "wanted",
    "with_cell",
    "x",
]

ROWS = make_rows(6, seed=5)
BAD_ROWS = make_rows(2)
BAD_ROWS[1, 1] = np.inf
SHARED = {
    "shared_memory_region": pb.InferParameter(string_param="secret"),
    "shared_memory_byte_size": pb.InferParameter(int64_param=240),
}
DTYPES = {"FP32": "<f4", "FP64": "<f8", "BOOL": "?", "UINT8": "u1"}


def x(rows=ROWS, datatype="FP64", shape=None, name="x", **fields):
    return pb.ModelInferRequest.InferInputTensor(
        name=name, datatype=datatype, shape=np.shape(rows) if shape is None else shape, **fields
    )


def raw(rows=ROWS, datatype="FP64"):
    return np.asarray(rows).astype(DTYPES[datatype]).tobytes()


def request(rows=ROWS, datatype="FP64", **fields):
    """A valid request, of which any field can be replaced."""
    valid = {
        "model_name": "model",
        "inputs": [x(rows, datatype)],
        "raw_input_contents": [raw(rows, datatype)],
    }
    return pb.ModelInferRequest(**valid | fields)


def wanted(*names, **parameters):
    tensor = pb.ModelInferRequest.InferRequestedOutputTensor
    return {"outputs": [tensor(name=name, parameters=parameters) for name in names]}


def typed(rows=ROWS, datatype="FP64", shape=None, **contents):
    values = contents or {"fp64_contents" if datatype == "FP64" else "fp32_contents": np.ravel(rows)}
    return {
        "inputs": [x(rows, datatype, shape, contents=pb.InferTensorContents(**values))],
        "raw_input_contents": [],
    }


def number(value):
    return pb.InferParameter(int64_param=value)


def infer(channel, message, timeout=60):
    return GRPCInferenceServiceStub(channel).ModelInfer(message, timeout=timeout)


def values_of(reply):
    """The outputs by name, each checked to be as the protocol says."""
    assert len(reply.outputs) == len(reply.raw_output_contents)
    found = {}
    for output, data in zip(reply.outputs, reply.raw_output_contents, strict=True):
        assert not output.HasField("contents")
        assert output.datatype == OUTPUTS[output.name]
        found[output.name] = np.frombuffer(data, DTYPES[output.datatype]).reshape(tuple(output.shape))
    return found


def shaped(*shape, datatype="FP64", data=None):
    return {"inputs": [x(datatype=datatype, shape=shape)], "raw_input_contents": [raw() if data is None else data]}


def parameter(name, **value):
    return {"parameters": {name: pb.InferParameter(**value)}}


def many_parameters(count):
    return {f"p{i}": number(i) for i in range(count)}


def stream(channel, messages, timeout=60):
    return GRPCInferenceServiceStub(channel).ModelStreamInfer(iter(messages), timeout=timeout)


def with_cell(value):
    rows = ROWS.copy()
    rows[2, 1] = value
    return rows


def sized(value, fields=None):
    """A request whose input has the parameter binary_data_size."""
    (tensor,) = (fields or {"inputs": [x()]})["inputs"]
    tensor.parameters["binary_data_size"].CopyFrom(value)
    return {"inputs": [tensor]}
