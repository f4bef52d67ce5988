"""The replies of ModelStreamInfer: scores, or the error of one request."""

from __future__ import annotations

import itertools

from anomaly_vae.service.faults import Fault
from anomaly_vae.service.pb import inference_pb2 as pb
from anomaly_vae.service.tensors import check_id
from anomaly_vae.wire import WireError, fields

__all__ = ["error_of", "in_stream"]

# Triton says so of the last response to a request. There is one for each here, so it is the last.
_FINAL = "triton_final_response"

_ID = 3
_MOST_FIELDS = 64


def in_stream(reply: pb.ModelInferResponse) -> bytes:
    """A reply as the stream has it."""
    reply.parameters[_FINAL].bool_param = True
    return bytes(pb.ModelStreamInferResponse(infer_response=reply).SerializeToString())


def error_of(data: bytes, fault: Fault) -> bytes:
    """What a request that failed is told, under its own name if it has one that can be sent back."""
    reply = pb.ModelInferResponse(id=_id_of(data))
    reply.parameters[_FINAL].bool_param = True
    answer = pb.ModelStreamInferResponse(error_message=fault.message, infer_response=reply)
    return bytes(answer.SerializeToString())


def _id_of(data: bytes) -> str:
    """The request's id, looked for without parsing the request, which may be what is wrong with it."""
    try:
        found = [value for number, value in itertools.islice(fields(data), _MOST_FIELDS) if number == _ID]
        text = found[-1].decode() if found and isinstance(found[-1], bytes) else ""
        check_id(text, "id")
    except (WireError, UnicodeDecodeError, Fault):
        return ""
    return text
