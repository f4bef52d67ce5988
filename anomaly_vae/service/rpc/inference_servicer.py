"""The Open Inference Protocol, version 2, for the clients of Triton and KServe."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TypeAlias

import grpc

from anomaly_vae.service.models.control import ModelControl
from anomaly_vae.service.pb import inference_pb2 as pb
from anomaly_vae.service.rpc.inference_format import InferenceFormat, named_model, serialised
from anomaly_vae.service.rpc.inference_metadata import (
    EXTENSIONS,
    PLATFORM,
    metadata_of,
    statistics_of,
    triton_config_of,
)
from anomaly_vae.service.rpc.inference_repository import check_repository, model_to_change
from anomaly_vae.service.rpc.inference_stream import serialised_error, serialised_in_stream
from anomaly_vae.service.rpc.request_path import RequestPath
from anomaly_vae.service.scoring import Scoring, expiry
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

    def __init__(self, scoring: Scoring, control: ModelControl) -> None:
        """Score with the shared queue and models, which the control may change."""
        self._scoring = scoring
        self._control = control
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
        return pb.ServerReadyResponse(ready=self._scoring.is_ready)

    async def ModelReady(  # noqa: N802
        self, request: pb.ModelReadyRequest, _context: Context
    ) -> pb.ModelReadyResponse:
        """Return whether this model would score rows now. An unknown model is not ready, as in Triton; no error."""
        versions = self._scoring.catalogue.models.get(request.name) if self._scoring.is_ready else None
        known = versions is not None and (not request.version or request.version in versions.loaded)
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
        served = named_model(self._scoring, request.name, request.version)
        return metadata_of(served, self._scoring.catalogue.models[served.name].loaded)

    async def ModelConfig(  # noqa: N802
        self, request: pb.ModelConfigRequest, _context: Context
    ) -> pb.ModelConfigResponse:
        """Return the model's tensors in Triton's form, with the most rows of a request."""
        served = named_model(self._scoring, request.name, request.version)
        return pb.ModelConfigResponse(config=triton_config_of(served, self._scoring.config.max_rows))

    async def ModelStatistics(  # noqa: N802
        self, request: pb.ModelStatisticsRequest, _context: Context
    ) -> pb.ModelStatisticsResponse:
        """Return what a model has done so far, or, with empty names, what all models have, as in Triton."""
        self._scoring.check_serving()
        models = list(self._scoring.catalogue.find(request.name, request.version))
        return pb.ModelStatisticsResponse(model_stats=[statistics_of(one, self._scoring.metrics) for one in models])

    async def RepositoryIndex(  # noqa: N802
        self, request: pb.RepositoryIndexRequest, _context: Context
    ) -> pb.RepositoryIndexResponse:
        """Return the versions that were found, and which of them are loaded."""
        check_repository(request.repository_name)
        listed = [one for one in self._control.index() if one.state == "READY" or not request.ready]
        index = pb.RepositoryIndexResponse.ModelIndex
        return pb.RepositoryIndexResponse(models=[index(**one._asdict()) for one in listed])

    async def RepositoryModelLoad(  # noqa: N802
        self, request: pb.RepositoryModelLoadRequest, _context: Context
    ) -> pb.RepositoryModelLoadResponse:
        """Load the newest versions of a model."""
        name = model_to_change(request)
        await self._control.load(name)
        return pb.RepositoryModelLoadResponse(model_name=name, is_loaded=True)

    async def RepositoryModelUnload(  # noqa: N802
        self, request: pb.RepositoryModelUnloadRequest, _context: Context
    ) -> pb.RepositoryModelUnloadResponse:
        """Stop serving a model."""
        name = model_to_change(request)
        await self._control.unload(name)
        return pb.RepositoryModelUnloadResponse(model_name=name, is_unloaded=True)

    async def ModelInfer(self, data: bytes, context: Context) -> bytes:  # noqa: N802
        """Score all rows of a ModelInferRequest, or refuse it if one value is wrong."""
        return await self._path.answer(data, expiry(context.time_remaining()))

    def ModelStreamInfer(  # noqa: N802
        self, requests: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[bytes]:
        """Answer requests in order, each with scores or with its error."""
        return self._stream_path.answer_stream(requests, expiry(context.time_remaining()), serialised_error)
