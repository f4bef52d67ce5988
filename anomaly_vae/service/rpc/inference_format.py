"""ModelInferRequest and its replies as a message format."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import grpc

from anomaly_vae.arrays import FloatArray
from anomaly_vae.scores import Flags, Scores
from anomaly_vae.service.call_errors import CallError
from anomaly_vae.service.pb import inference_pb2 as pb
from anomaly_vae.service.rpc.inference_messages import count_rows, outputs_of, parse_infer, reply_of, rows_of
from anomaly_vae.service.rpc.inference_parameters import parameters_of
from anomaly_vae.service.rpc.request_path import RequestOptions
from anomaly_vae.service.rpc.score_format import check_budget
from anomaly_vae.service.scoring import Scoring
from anomaly_vae.service.served import Explanations, Served
from anomaly_vae.service.settings import ServeConfig

__all__ = ["InferenceFormat", "named_model", "serialised"]


class InferenceFormat:
    """The messages of ModelInfer, or of ModelStreamInfer: see :class:`~.request_path.MessageFormat`."""

    def __init__(self, limits: ServeConfig, serialise: Callable[[pb.ModelInferResponse], bytes]) -> None:
        """Refuse requests beyond the limits, and write replies by ``serialise``."""
        self._limits = limits
        self._serialise = serialise

    def parse(self, data: bytes) -> pb.ModelInferRequest:
        """Parse a ModelInferRequest, and check all of it but its name, options and values."""
        return parse_infer(data)

    def request_id(self, message: pb.ModelInferRequest) -> str:
        """Return the caller's name for the request."""
        return message.id

    def pick(self, scoring: Scoring, message: pb.ModelInferRequest) -> Served:
        """Return the model that the request asks for."""
        return named_model(scoring, message.model_name, message.model_version, message.id, "model_")

    def count_rows(self, _served: Served, message: pb.ModelInferRequest) -> int:
        """Return the number of rows that the request claims."""
        return count_rows(message)

    def options(self, served: Served, message: pb.ModelInferRequest) -> RequestOptions:
        """Return the checked options."""
        parameters = parameters_of(message.parameters)
        if parameters.num_samples:
            check_budget(served, parameters.num_samples, "parameters.num_samples")
        options = served.options(parameters.num_samples)
        outputs = outputs_of(message, calibrated=options.num_samples == served.scorer.num_samples)
        return RequestOptions(options, parameters.timeout, outputs)

    def make_rows(self, served: Served, message: pb.ModelInferRequest) -> FloatArray:
        """Return the checked rows, (N, D)."""
        return rows_of(message, served.scorer.schema, self._limits)

    def write_reply(
        self,
        served: Served,
        message: pb.ModelInferRequest,
        options: RequestOptions,
        scores: Scores | Flags,
        _explanations: Explanations,
    ) -> bytes:
        """Return the reply's bytes. The scores are never Flags, since the options have no ``flag_only``."""
        model = served.name, served.version
        return self._serialise(reply_of(model, message.id, options.outputs, cast(Scores, scores)))


def serialised(reply: pb.ModelInferResponse) -> bytes:
    """Return the reply to a ModelInfer call as bytes."""
    return bytes(reply.SerializeToString())


def named_model(scoring: Scoring, name: str, version: str, request_id: str = "", prefix: str = "") -> Served:
    """Return the model with this name, and this version unless it is empty. The name may not be empty, as in Triton."""
    scoring.check_serving()
    if not name:
        raise CallError(
            grpc.StatusCode.NOT_FOUND, "'' is not served here; send the name of a model", field=f"{prefix}name"
        )
    return scoring.model(name, version, request_id, prefix)
