"""The Open Inference Protocol, version 2, for the clients of Triton and KServe."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TypeAlias

import grpc

from anomaly_vae.service.pb import inference_pb2 as pb
from anomaly_vae.service.rpc.inference_format import InferenceFormat, check_model, serialised
from anomaly_vae.service.rpc.inference_metadata import (
    EXTENSIONS,
    PLATFORM,
    metadata_of,
    statistics_of,
    triton_config_of,
)
from anomaly_vae.service.rpc.inference_stream import serialised_error, serialised_in_stream
from anomaly_vae.service.rpc.request_path import RequestPath
from anomaly_vae.service.scoring import Scoring, expiry
from anomaly_vae.service.served import Served
from anomaly_vae.version import __version__

__all__ = ["INFERENCE", "METHODS", "InferenceServicer"]

_SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
INFERENCE: str = _SERVICE.full_name
METHODS: tuple[tuple[str, str], ...] = tuple(
    ("bidi_stream" if method.server_streaming else "unary", method.name) for method in _SERVICE.methods
)

Context: TypeAlias = grpc.aio.ServicerContext


class InferenceServicer:
    """Implements ``inference.GRPCInferenceService``."""

    def __init__(self, scoring: Scoring) -> None:
        """Score with the shared queue and model."""
        self._scoring = scoring
        self._path = RequestPath(scoring, InferenceFormat(scoring.config, serialised))
        self._stream_path = RequestPath(scoring, InferenceFormat(scoring.config, serialised_in_stream))

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the methods' handlers. ModelInfer takes and returns bytes, which the request path checks and times."""
        handlers = {
            "ModelInfer": grpc.unary_unary_rpc_method_handler(self.ModelInfer),
            "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(self.ModelStreamInfer),
        }
        for _, name in METHODS:
            if name not in handlers:
                parse, serialise = getattr(pb, f"{name}Request").FromString, getattr(pb, f"{name}Response")
                handlers[name] = grpc.unary_unary_rpc_method_handler(
                    getattr(self, name), parse, serialise.SerializeToString
                )
        return grpc.method_handlers_generic_handler(INFERENCE, handlers)

    async def ServerLive(  # noqa: N802 (the method's name on the wire)
        self, _request: pb.ServerLiveRequest, _context: Context
    ) -> pb.ServerLiveResponse:
        """Return true: the process is alive if it can answer at all."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(  # noqa: N802
        self, _request: pb.ServerReadyRequest, _context: Context
    ) -> pb.ServerReadyResponse:
        """Return whether rows would be scored now."""
        return pb.ServerReadyResponse(ready=self._ready() is not None)

    async def ModelReady(  # noqa: N802
        self, request: pb.ModelReadyRequest, _context: Context
    ) -> pb.ModelReadyResponse:
        """Return whether this model would score rows now. An unknown model is not ready, as in Triton; no error."""
        served = self._ready()
        known = served is not None and request.name == served.name and request.version in ("", served.version)
        return pb.ModelReadyResponse(ready=known)

    async def ServerMetadata(  # noqa: N802
        self, _request: pb.ServerMetadataRequest, _context: Context
    ) -> pb.ServerMetadataResponse:
        """Return the server's name, version and extensions."""
        return pb.ServerMetadataResponse(name=PLATFORM, version=__version__, extensions=EXTENSIONS)

    async def ModelMetadata(  # noqa: N802
        self, request: pb.ModelMetadataRequest, _context: Context
    ) -> pb.ModelMetadataResponse:
        """Return the model's tensors."""
        served = self._scoring.model()
        check_model(served, request.name, request.version)
        return metadata_of(served)

    async def ModelConfig(  # noqa: N802
        self, request: pb.ModelConfigRequest, _context: Context
    ) -> pb.ModelConfigResponse:
        """Return the model's tensors in Triton's form, with the most rows of a request."""
        served = self._scoring.model()
        check_model(served, request.name, request.version)
        return pb.ModelConfigResponse(config=triton_config_of(served, self._scoring.config.max_rows))

    async def ModelStatistics(  # noqa: N802
        self, request: pb.ModelStatisticsRequest, _context: Context
    ) -> pb.ModelStatisticsResponse:
        """Return what the model has done so far. An empty name stands for the served model, as in Triton."""
        served = self._scoring.model()
        check_model(served, request.name or served.name, request.version)
        return pb.ModelStatisticsResponse(model_stats=[statistics_of(served, self._scoring.metrics)])

    async def ModelInfer(self, data: bytes, context: Context) -> bytes:  # noqa: N802
        """Score all rows of a ModelInferRequest, or refuse it if one value is wrong."""
        return await self._path.answer(data, expiry(context.time_remaining()))

    def ModelStreamInfer(  # noqa: N802
        self, requests: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[bytes]:
        """Answer requests in order, each with scores or with its error."""
        return self._stream_path.answer_stream(requests, expiry(context.time_remaining()), serialised_error)

    def _ready(self) -> Served | None:
        """Return the model if rows would be scored now. Unlike :meth:`Scoring.model` this counts no refusal."""
        return None if self._scoring.drained.is_set() else self._scoring.served
