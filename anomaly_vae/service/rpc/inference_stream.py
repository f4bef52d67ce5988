"""The replies of ModelStreamInfer: scores, or the error of one request."""

from __future__ import annotations

import itertools

from anomaly_vae.service.call_errors import CallError
from anomaly_vae.service.pb import inference_pb2 as pb
from anomaly_vae.service.rpc.tensors import check_id
from anomaly_vae.wire import WireError, fields

__all__ = ["serialised_error", "serialised_in_stream"]

# The parameter by which Triton marks the last response to a request. Here each request has one response.
_FINAL = "triton_final_response"

_ID = 3  # the number of the field in ModelInferRequest
# Fields of a broken request in which its id is looked for. Bounds the time. Chosen, not measured.
_MOST_FIELDS = 64


def serialised_in_stream(reply: pb.ModelInferResponse) -> bytes:
    """Return a reply as a message of the stream."""
    reply.parameters[_FINAL].bool_param = True
    return bytes(pb.ModelStreamInferResponse(infer_response=reply).SerializeToString())


def serialised_error(data: bytes, error: CallError) -> bytes:
    """Return the error of a request as a message of the stream, with the request's id if it is valid."""
    reply = pb.ModelInferResponse(id=_id_of(data))
    reply.parameters[_FINAL].bool_param = True
    answer = pb.ModelStreamInferResponse(error_message=error.message, infer_response=reply)
    return bytes(answer.SerializeToString())


def _id_of(data: bytes) -> str:
    """Return the request's id, or "". The request is not parsed: it may be the cause of the error."""
    try:
        found = [value for number, value in itertools.islice(fields(data), _MOST_FIELDS) if number == _ID]
        text = found[-1].decode() if found and isinstance(found[-1], bytes) else ""
        check_id(text, "id")
    except (WireError, UnicodeDecodeError, CallError):
        return ""
    return text
