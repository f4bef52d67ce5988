"""The scoring service itself: convert, delegate, convert."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import grpc

from anomaly_vae.densities import FloatArray
from anomaly_vae.scorer import Scorer
from anomaly_vae.scores import Flags, Scores
from anomaly_vae.service.config import ServeConfig
from anomaly_vae.service.convert import count_rows, fill_reply, parse_request, rows_of
from anomaly_vae.service.faults import Fault, invalid
from anomaly_vae.service.metrics import Metrics
from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.queueing import ScoringQueue

__all__ = ["SERVICE", "ScoringServicer", "Served"]

# Above this many bytes, reading a request would hold up the event loop.
_LARGE_MESSAGE = 2**18

SERVICE: str = pb.DESCRIPTOR.services_by_name["ScoringService"].full_name

Context: TypeAlias = grpc.aio.ServicerContext


@dataclass(frozen=True)
class Served:
    """A loaded model under the name and version that clients know."""

    name: str
    version: str
    scorer: Scorer


class ScoringServicer:
    """Implements ``anomaly_vae.v1.ScoringService``."""

    def __init__(self, config: ServeConfig, queue: ScoringQueue, metrics: Metrics) -> None:
        """Start without a model: calls are UNAVAILABLE until :attr:`served` is set."""
        self.served: Served | None = None
        self.draining = False
        self._config = config
        self._queue = queue
        self._metrics = metrics

    def handlers(self) -> grpc.GenericRpcHandler:
        """What to add to a server. Score takes and gives bytes, so that its parsing is guarded and timed here."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Score": grpc.unary_unary_rpc_method_handler(self.Score),
                "GetModel": grpc.unary_unary_rpc_method_handler(
                    self.GetModel, pb.GetModelRequest.FromString, pb.Model.SerializeToString
                ),
            },
        )

    async def Score(self, data: bytes, context: Context) -> bytes:  # noqa: N802 (the method's name on the wire)
        """Score every row of a ScoreRequest, or none: one bad value refuses the call."""
        start = time.perf_counter()
        served = self._model()
        if len(data) <= _LARGE_MESSAGE:
            request, rows = self._decode(served, data)
        else:
            request, rows = await asyncio.to_thread(self._decode, served, data)
        decoded = time.perf_counter()
        scores = await self._score(served.scorer, request, rows, context.time_remaining())
        scored = time.perf_counter()
        reply = self._reply(served, request, scores)
        self._metrics.stage_seconds.labels("decode").observe(decoded - start)
        self._metrics.stage_seconds.labels("encode").observe(time.perf_counter() - scored)
        self._metrics.count_scores(served.version, scores)
        return reply

    async def GetModel(self, request: pb.GetModelRequest, _context: Context) -> pb.Model:  # noqa: N802
        """Describe the model."""
        served = self._model()
        self._check_model(served, request.model_name, request.model_version)
        return describe(served, self._config)

    def _model(self) -> Served:
        if self.draining:
            self._metrics.rejected.labels("draining").inc()
            raise Fault(grpc.StatusCode.UNAVAILABLE, "the server is shutting down; connect again")
        if self.served is None:
            raise Fault(grpc.StatusCode.UNAVAILABLE, "the model is still being loaded; try again soon", retry_after=0.5)
        return self.served

    async def _score(
        self, scorer: Scorer, request: pb.ScoreRequest, rows: FloatArray, time_remaining: float | None
    ) -> Scores | Flags:
        budget = request.num_samples or scorer.num_samples
        if request.flag_only:
            return await self._queue.submit(scorer.flag_rows, rows, budget, time_remaining)
        score = partial(scorer.score_rows, num_samples=budget, max_std_error=request.max_std_error or None)
        return await self._queue.submit(score, rows, budget, time_remaining)

    def _decode(self, served: Served, data: bytes) -> tuple[pb.ScoreRequest, FloatArray]:
        """The request and its rows, all checked; the queue's room before the rows are made."""
        num_rows = 0
        try:
            request = parse_request(data, self._config)
            num_rows = count_rows(request)
            self._check_model(served, request.model_name, request.model_version)
            self._check_budget(served.scorer, request)
            self._queue.check_room(num_rows)
            return request, rows_of(request, served.scorer.schema, self._config)
        except Fault as fault:
            if fault.code is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                self._metrics.count_invalid(served.version, num_rows)
            raise

    def _check_model(self, served: Served, name: str, version: str) -> None:
        for field, asked, here in (("model_name", name, served.name), ("model_version", version, served.version)):
            if asked not in ("", here):
                raise Fault(
                    grpc.StatusCode.NOT_FOUND,
                    f"{asked[:100]!r} is not served here, {here!r} is; leave it empty for whatever is served",
                    field=field,
                )

    def _check_budget(self, scorer: Scorer, request: pb.ScoreRequest) -> None:
        error = request.max_std_error
        if not 0.0 <= error < math.inf:
            raise invalid("max_std_error", f"is {error}, expected a positive number of nats, or 0 for the whole budget")
        if request.flag_only and error:
            raise invalid("max_std_error", "flag_only has no error to meet; set one of the two")
        budget = request.num_samples
        if budget == 0:
            return
        budgets = [allowed for allowed in scorer.budgets if allowed <= self._config.max_samples]
        if budget not in budgets:
            text = f"is {budget}, expected 0 for the calibrated budget, or one of {', '.join(map(str, budgets))}"
            raise invalid("num_samples", text)
        if request.flag_only and budget != scorer.num_samples:
            raise invalid("flag_only", f"only the calibrated budget, {scorer.num_samples} samples, gives flags")

    def _reply(self, served: Served, request: pb.ScoreRequest, scores: Scores | Flags) -> bytes:
        calibration = served.scorer.bundle.manifest.calibration
        reply = pb.ScoreResponse(
            threshold=calibration.threshold,
            target_fpr=calibration.target_fpr,
            model_name=served.name,
            model_version=served.version,
            request_id=request.request_id,
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
            budgets=[budget for budget in scorer.budgets if budget <= config.max_samples],
        ),
        limits=pb.Limits(
            max_rows=config.max_rows,
            max_columns=config.max_columns,
            max_samples=config.max_samples,
            max_message_bytes=config.max_message_bytes,
        ),
    )
