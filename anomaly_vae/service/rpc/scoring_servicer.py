"""``anomaly_vae.v1.ScoringService``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TypeAlias

import grpc

from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.rpc.model_description import describe
from anomaly_vae.service.rpc.request_path import RequestPath
from anomaly_vae.service.rpc.score_format import ScoreFormat
from anomaly_vae.service.scoring import Scoring, expiry

__all__ = ["SERVICE", "ScoringServicer"]

SERVICE: str = pb.DESCRIPTOR.services_by_name["ScoringService"].full_name

Context: TypeAlias = grpc.aio.ServicerContext


class ScoringServicer:
    """Implements ``anomaly_vae.v1.ScoringService``."""

    def __init__(self, scoring: Scoring) -> None:
        """Score with the shared queue and model."""
        self._scoring = scoring
        self._path = RequestPath(scoring, ScoreFormat(scoring.config))

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the methods' handlers. Score takes and returns bytes, which the request path checks and times."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Score": grpc.unary_unary_rpc_method_handler(self.Score),
                "ScoreStream": grpc.stream_stream_rpc_method_handler(self.ScoreStream),
                "GetModel": grpc.unary_unary_rpc_method_handler(
                    self.GetModel, pb.GetModelRequest.FromString, pb.Model.SerializeToString
                ),
            },
        )

    async def Score(self, data: bytes, context: Context) -> bytes:  # noqa: N802 (the method's name on the wire)
        """Score all rows of a ScoreRequest, or refuse it if one value is wrong."""
        return await self._path.answer(data, expiry(context.time_remaining()))

    def ScoreStream(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:  # noqa: N802
        """Answer requests in order; the first one that fails ends the stream."""
        return self._path.answer_stream(requests, expiry(context.time_remaining()))

    async def GetModel(self, request: pb.GetModelRequest, _context: Context) -> pb.Model:  # noqa: N802
        """Describe the model."""
        served = self._scoring.model(request.model_name, request.model_version, request.request_id)
        return describe(served, self._scoring.config)
