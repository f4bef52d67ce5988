"""The Open Inference Protocol, version 2, which Triton's and KServe's clients speak: convert, delegate, convert."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple, TypeAlias, cast

import grpc

from anomaly_vae import __version__
from anomaly_vae.densities import FloatArray
from anomaly_vae.scores import Scores
from anomaly_vae.service.faults import Fault, internal
from anomaly_vae.service.inference_convert import count_rows, outputs_of, parse_infer, reply_of, rows_of
from anomaly_vae.service.inference_model import EXTENSIONS, PLATFORM, metadata_of, statistics_of, triton_config_of
from anomaly_vae.service.inference_parameters import options_of
from anomaly_vae.service.inference_stream import error_of, in_stream
from anomaly_vae.service.pb import inference_pb2 as pb
from anomaly_vae.service.records import current_call
from anomaly_vae.service.scoring import LARGE_MESSAGE, Scoring, expiry
from anomaly_vae.service.served import Served, Work
from anomaly_vae.service.servicers import check_budget
from anomaly_vae.service.streams import Interrupted, in_order

__all__ = ["INFERENCE", "METHODS", "InferenceServicer"]

_SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
INFERENCE: str = _SERVICE.full_name
METHODS: tuple[tuple[str, str], ...] = tuple(
    ("bidi_stream" if method.server_streaming else "unary", method.name) for method in _SERVICE.methods
)

Context: TypeAlias = grpc.aio.ServicerContext
Writer = Callable[[pb.ModelInferResponse], bytes]


class _Asked(NamedTuple):
    """What a ModelInferRequest asks for; all checked but the rows."""

    request: pb.ModelInferRequest
    num_rows: int
    work: Work
    outputs: tuple[str, ...]
    timeout: float | None


class InferenceServicer:
    """Implements ``inference.GRPCInferenceService``."""

    def __init__(self, scoring: Scoring) -> None:
        """Score by what the services have in common."""
        self._scoring = scoring
        self._metrics = scoring.metrics

    def handlers(self) -> grpc.GenericRpcHandler:
        """What to add to a server. Rows come and scores go as bytes, so that parsing is guarded and timed here."""
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
        """Whoever can answer lives."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(  # noqa: N802
        self, _request: pb.ServerReadyRequest, _context: Context
    ) -> pb.ServerReadyResponse:
        """Whether rows would be scored."""
        return pb.ServerReadyResponse(ready=self._ready() is not None)

    async def ModelReady(  # noqa: N802
        self, request: pb.ModelReadyRequest, _context: Context
    ) -> pb.ModelReadyResponse:
        """Whether that model would score rows; an unknown one is not ready, rather than a fault, as in Triton."""
        served = self._ready()
        known = served is not None and request.name == served.name and request.version in ("", served.version)
        return pb.ModelReadyResponse(ready=known)

    async def ServerMetadata(  # noqa: N802
        self, _request: pb.ServerMetadataRequest, _context: Context
    ) -> pb.ServerMetadataResponse:
        """What the server is."""
        return pb.ServerMetadataResponse(name=PLATFORM, version=__version__, extensions=EXTENSIONS)

    async def ModelMetadata(  # noqa: N802
        self, request: pb.ModelMetadataRequest, _context: Context
    ) -> pb.ModelMetadataResponse:
        """The model's tensors."""
        served = self._scoring.model()
        _check_model(served, request.name, request.version)
        return metadata_of(served)

    async def ModelConfig(  # noqa: N802
        self, request: pb.ModelConfigRequest, _context: Context
    ) -> pb.ModelConfigResponse:
        """The model's tensors in Triton's words, with the most rows of a request."""
        served = self._scoring.model()
        _check_model(served, request.name, request.version)
        return pb.ModelConfigResponse(config=triton_config_of(served, self._scoring.config.max_rows))

    async def ModelStatistics(  # noqa: N802
        self, request: pb.ModelStatisticsRequest, _context: Context
    ) -> pb.ModelStatisticsResponse:
        """What the model has done so far; an unnamed model is whatever is served, as in Triton."""
        served = self._scoring.model()
        _check_model(served, request.name or served.name, request.version)
        return pb.ModelStatisticsResponse(model_stats=[statistics_of(served, self._metrics)])

    async def ModelInfer(self, data: bytes, context: Context) -> bytes:  # noqa: N802
        """Score every row of a ModelInferRequest, or none: one bad value refuses the call."""
        with self._metrics.requests.timed():
            return await self._answer(data, expiry(context.time_remaining()), _alone)

    async def ModelStreamInfer(  # noqa: N802
        self, requests: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[bytes]:
        """Answer requests in order, each with scores or its error.

        When the queue is full the stream is not read on, rather than refused.
        """
        expires = expiry(context.time_remaining())
        try:
            async for reply in in_order(
                requests, lambda data: self._answer_in_stream(data, expires), self._scoring.drained
            ):
                yield reply
        except Interrupted:
            self._scoring.model()  # says why

    async def _answer_in_stream(self, data: bytes, expires: float) -> bytes:
        """The reply to a request of a stream; its error, so that the stream goes on unless the service does not."""
        try:
            with self._metrics.requests.timed():
                return await self._answer(data, expires, in_stream, patient=True)
        except Fault as error:
            if error.code is grpc.StatusCode.UNAVAILABLE:
                raise
            fault = error
        except Exception as error:  # noqa: BLE001 (a fault of ours, whatever it is)
            current_call().blame(error)
            fault = internal()
        self._metrics.count_stream_error(fault.code)
        return error_of(data, fault)

    async def _answer(self, data: bytes, expires: float, write: Writer, *, patient: bool = False) -> bytes:
        """The reply to a ModelInferRequest, written; who is patient waits for room in the queue."""
        start, now, call = time.perf_counter(), time.monotonic(), current_call()
        served = self._scoring.model()
        call.model_version = served.version
        large = len(data) > LARGE_MESSAGE
        asked = await asyncio.to_thread(self._read, served, data) if large else self._read(served, data)
        ends = math.inf if asked.timeout is None else now + asked.timeout
        expires = min(ends, expires)
        if not patient:
            self._scoring.check_room(asked.work, asked.num_rows, expires)
        rows = await asyncio.to_thread(self._rows, served, asked) if large else self._rows(served, asked)
        decoded = time.perf_counter()
        scores = await self._score(asked.work, rows, expires, ends, patient=patient)
        scored = time.perf_counter()
        reply = write(reply_of((served.name, served.version), asked.request.id, asked.outputs, scores))
        self._metrics.stage("decode").observe_one(decoded - start)
        encoded = time.perf_counter()
        self._metrics.stage("encode").observe_one(encoded - scored)
        call.add_stage("decode", start, decoded)
        call.add_stage("encode", scored, encoded)
        return reply

    def _ready(self) -> Served | None:
        """The model if rows would be scored. Unlike :meth:`Scoring.model` this turns nobody away."""
        return None if self._scoring.drained.is_set() else self._scoring.served

    def _read(self, served: Served, data: bytes) -> _Asked:
        num_rows = 0
        try:
            request = parse_infer(data)
            num_rows = count_rows(request)
            current_call().ask(request.id, num_rows)
            _check_model(served, request.model_name, request.model_version, "model_")
            options = options_of(request.parameters)
            if options.num_samples:
                check_budget(served, options.num_samples, "parameters.num_samples")
            work = Work(served, options.num_samples or served.scorer.num_samples)
            outputs = outputs_of(request, calibrated=work.num_samples == served.scorer.num_samples)
            return _Asked(request, num_rows, work, outputs, options.timeout)
        except Fault:
            self._metrics.count_invalid(served.version, num_rows)
            raise

    def _rows(self, served: Served, asked: _Asked) -> FloatArray:
        try:
            return rows_of(asked.request, served.scorer.schema, self._scoring.config)
        except Fault:
            self._metrics.count_invalid(served.version, asked.num_rows)
            raise

    async def _score(self, work: Work, rows: FloatArray, expires: float, ends: float, *, patient: bool) -> Scores:
        """The scores, unless the request's own timeout passes first: gRPC, which ends a late call, does not know it."""
        try:
            async with asyncio.timeout(None if ends == math.inf else ends - time.monotonic()):
                return cast(Scores, await self._scoring.score(work, rows, expires, patient=patient))
        except TimeoutError as error:
            text = "the request's timeout passed before the rows were scored"
            raise Fault(grpc.StatusCode.DEADLINE_EXCEEDED, text) from error


def _alone(reply: pb.ModelInferResponse) -> bytes:
    return bytes(reply.SerializeToString())


def _check_model(served: Served, name: str, version: str, prefix: str = "") -> None:
    """Raise NOT_FOUND unless name and version are the served ones; only the version may be empty, as in Triton."""
    for field, asked, here in (("name", name, served.name), ("version", version or served.version, served.version)):
        if asked != here:
            text = f"{asked[:100]!r} is not served here, {here!r} is; ask for that"
            raise Fault(grpc.StatusCode.NOT_FOUND, text, field=prefix + field)
