"""The scoring service itself: convert, delegate, convert."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from typing import TypeAlias

import grpc

from anomaly_vae.densities import FloatArray
from anomaly_vae.scores import Flags, Scores
from anomaly_vae.service.config import ServeConfig
from anomaly_vae.service.convert import count_rows, fill_reply, parse_request, rows_of
from anomaly_vae.service.faults import Fault, invalid
from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.records import current_call
from anomaly_vae.service.scoring import LARGE_MESSAGE, Scoring, expiry
from anomaly_vae.service.served import Served, Work
from anomaly_vae.service.streams import Interrupted, in_order

__all__ = ["SERVICE", "ScoringServicer", "check_budget"]

# Rows of a reply above which writing it would hold up the event loop.
_LARGE_REPLY = 2_048

SERVICE: str = pb.DESCRIPTOR.services_by_name["ScoringService"].full_name

Context: TypeAlias = grpc.aio.ServicerContext


class ScoringServicer:
    """Implements ``anomaly_vae.v1.ScoringService``."""

    def __init__(self, scoring: Scoring) -> None:
        """Score by what the services have in common."""
        self._scoring = scoring
        self._metrics = scoring.metrics

    def handlers(self) -> grpc.GenericRpcHandler:
        """What to add to a server. Score takes and gives bytes, so that its parsing is guarded and timed here."""
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
        """Score every row of a ScoreRequest, or none: one bad value refuses the call."""
        return await self._counted(data, expiry(context.time_remaining()), patient=False)

    async def ScoreStream(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:  # noqa: N802
        """Answer requests in order. When the queue is full the stream is not read on, rather than refused."""
        expires = expiry(context.time_remaining())
        try:
            async for reply in in_order(
                requests, lambda data: self._counted(data, expires, patient=True), self._scoring.drained
            ):
                yield reply
        except Interrupted:
            self._scoring.model()  # says why

    async def GetModel(self, request: pb.GetModelRequest, _context: Context) -> pb.Model:  # noqa: N802
        """Describe the model."""
        served = self._scoring.model()
        self._scoring.check_model(served, request.model_name, request.model_version)
        return describe(served, self._scoring.config)

    async def _counted(self, data: bytes, expires: float, *, patient: bool) -> bytes:
        with self._metrics.requests.timed():
            return await self._answer(data, expires, patient=patient)

    async def _answer(self, data: bytes, expires: float, *, patient: bool) -> bytes:
        """The reply to a ScoreRequest; who is patient waits for room in the queue."""
        start, call = time.perf_counter(), current_call()
        served = self._scoring.model()
        call.model_version = served.version
        large = len(data) > LARGE_MESSAGE
        if large:
            request, work, num_rows = await asyncio.to_thread(self._read, served, data)
        else:
            request, work, num_rows = self._read(served, data)
        if not patient:
            self._scoring.check_room(work, num_rows, expires)
        if large:
            rows = await asyncio.to_thread(self._rows, served, request, num_rows)
        else:
            rows = self._rows(served, request, num_rows)
        decoded = time.perf_counter()
        scores = await self._scoring.score(work, rows, expires, patient=patient)
        scored = time.perf_counter()
        if len(rows) > _LARGE_REPLY:
            reply = await asyncio.to_thread(_reply, served, request.request_id, scores)
        else:
            reply = _reply(served, request.request_id, scores)
        self._metrics.stage("decode").observe_one(decoded - start)
        encoded = time.perf_counter()
        self._metrics.stage("encode").observe_one(encoded - scored)
        call.add_stage("decode", start, decoded)
        call.add_stage("encode", scored, encoded)
        return reply

    def _read(self, served: Served, data: bytes) -> tuple[pb.ScoreRequest, Work, int]:
        """The request, what it asks for, and how many rows it claims to have; all checked but the rows."""
        num_rows = 0
        try:
            request = parse_request(data, self._scoring.config)
            num_rows = count_rows(request)
            current_call().ask(request.request_id, num_rows)
            self._scoring.check_model(served, request.model_name, request.model_version)
            return request, self._work(served, request), num_rows
        except Fault:
            self._metrics.count_invalid(served.version, num_rows)
            raise

    def _rows(self, served: Served, request: pb.ScoreRequest, num_rows: int) -> FloatArray:
        try:
            return rows_of(request, served.scorer.schema, self._scoring.config)
        except Fault:
            self._metrics.count_invalid(served.version, num_rows)
            raise

    def _work(self, served: Served, request: pb.ScoreRequest) -> Work:
        scorer, budget, error = served.scorer, request.num_samples, request.max_std_error
        if not 0.0 <= error < math.inf:
            raise invalid("max_std_error", f"is {error}, expected a positive number of nats, or 0 for the whole budget")
        if request.flag_only and error:
            raise invalid("max_std_error", "flag_only has no error to meet; set one of the two")
        if budget:
            check_budget(served, budget)
        if request.flag_only and budget not in (0, scorer.num_samples):
            raise invalid("flag_only", f"only the calibrated budget, {scorer.num_samples} samples, gives flags")
        return Work(served, budget or scorer.num_samples, error or None, request.flag_only)


def check_budget(served: Served, budget: int, field: str = "num_samples") -> None:
    """Raise INVALID_ARGUMENT if so many samples a row cannot be asked for."""
    if budget not in served.budgets:
        text = f"is {budget}, expected 0 for the calibrated budget, or one of {', '.join(map(str, served.budgets))}"
        raise invalid(field, text)


def _reply(served: Served, request_id: str, scores: Scores | Flags) -> bytes:
    calibration = served.scorer.bundle.manifest.calibration
    reply = pb.ScoreResponse(
        threshold=calibration.threshold,
        target_fpr=calibration.target_fpr,
        model_name=served.name,
        model_version=served.version,
        request_id=request_id,
        bundle_digest=served.scorer.bundle.digest,
    )
    fill_reply(reply, scores)
    return bytes(reply.SerializeToString())


def describe(served: Served, config: ServeConfig) -> pb.Model:
    """The model as its clients see it."""
    manifest, scorer = served.scorer.bundle.manifest, served.scorer
    calibration = manifest.calibration
    return pb.Model(
        name=served.name,
        version=served.version,
        bundle_digest=scorer.bundle.digest,
        format_version=manifest.format_version,
        created_by=manifest.created_by,
        created_at=manifest.created_at,
        columns=[
            pb.ModelColumn(
                name=column.name,
                kind=column.kind,
                value=column.value,
                categories=column.categories or (),
                step=column.step,
                origin=column.origin,
            )
            for column in manifest.schema.columns
        ],
        label=manifest.schema.label or "",
        calibration=pb.Calibration(
            threshold=calibration.threshold,
            target_fpr=calibration.target_fpr,
            effective_fpr=calibration.effective_fpr,
            confidence=calibration.confidence,
            num_rows=calibration.num_rows,
            rank=calibration.rank,
            num_novel=calibration.num_novel,
        ),
        estimator=pb.Estimator(
            num_samples=manifest.estimator.num_samples,
            scramblings=manifest.estimator.scramblings,
            budgets=served.budgets,
        ),
        limits=pb.Limits(
            max_rows=config.max_rows,
            max_columns=config.max_columns,
            max_samples=config.max_samples,
            max_message_bytes=config.max_message_bytes,
        ),
    )
