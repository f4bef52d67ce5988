"""ScoreRequest and ScoreResponse as a message format."""

from __future__ import annotations

import math

from anomaly_vae.arrays import FloatArray
from anomaly_vae.scores import Flags, Scores
from anomaly_vae.service.call_errors import invalid
from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.rpc.explanation_messages import MOST_EXPLAINED, fill_explanations
from anomaly_vae.service.rpc.request_path import RequestOptions
from anomaly_vae.service.rpc.score_messages import count_rows, fill_reply, parse_request, rows_of
from anomaly_vae.service.scoring import Scoring
from anomaly_vae.service.served import Explanations, Served
from anomaly_vae.service.settings import ServeConfig

__all__ = ["ScoreFormat", "check_budget"]


class ScoreFormat:
    """The messages of ``anomaly_vae.v1.ScoringService``: see :class:`~.request_path.MessageFormat`."""

    def __init__(self, limits: ServeConfig) -> None:
        """Refuse requests beyond these limits."""
        self._limits = limits

    def parse(self, data: bytes) -> pb.ScoreRequest:
        """Parse a ScoreRequest."""
        return parse_request(data, self._limits)

    def request_id(self, message: pb.ScoreRequest) -> str:
        """Return the caller's name for the request."""
        return message.request_id

    def pick(self, scoring: Scoring, message: pb.ScoreRequest) -> Served:
        """Return the model that the request asks for."""
        return scoring.model(message.model_name, message.model_version, message.request_id)

    def count_rows(self, served: Served, message: pb.ScoreRequest) -> int:
        """Return the number of rows that the request claims."""
        return count_rows(message, served.scorer.schema)

    def options(self, served: Served, message: pb.ScoreRequest) -> RequestOptions:
        """Return the checked options."""
        budget, error, calibrated = message.num_samples, message.max_std_error, served.scorer.num_samples
        if not 0.0 <= error < math.inf:
            raise invalid(
                "max_std_error",
                f"is {error}, expected a positive number of nats, or 0 for the error target of the model",
            )
        if message.flag_only and error:
            raise invalid("max_std_error", "flag_only computes no error to compare it with; set only one of the two")
        if budget:
            check_budget(served, budget)
        if message.flag_only and budget not in (0, calibrated):
            raise invalid("flag_only", f"only the calibrated budget, {calibrated} samples, gives flags")
        options = served.options(budget, max_std_error=error or None, flag_only=message.flag_only)
        _check_explain(message, options.uncalibrated_reason(calibrated))
        return RequestOptions(options, explain=message.explain, explain_all=message.explain_all)

    def make_rows(self, served: Served, message: pb.ScoreRequest) -> FloatArray:
        """Return the checked rows, (N, D)."""
        return rows_of(message, served.scorer.schema, self._limits)

    def write_reply(
        self,
        served: Served,
        message: pb.ScoreRequest,
        _options: RequestOptions,
        scores: Scores | Flags,
        explanations: Explanations,
    ) -> bytes:
        """Return a ScoreResponse."""
        calibration = served.scorer.bundle.manifest.calibration
        reply = pb.ScoreResponse(
            threshold=calibration.threshold,
            target_fpr=calibration.target_fpr,
            model_name=served.name,
            model_version=served.version,
            request_id=message.request_id,
            bundle_digest=served.scorer.bundle.digest,
            tail=calibration.tail,
            upper_threshold=calibration.upper_threshold,
            contrast_threshold=calibration.contrast_threshold,
        )
        fill_reply(reply, scores)
        fill_explanations(reply, explanations)
        return bytes(reply.SerializeToString())


def _check_explain(message: pb.ScoreRequest, no_flags: str | None) -> None:
    """Raise INVALID_ARGUMENT for explanations that cannot be.

    Args:
        message: The request.
        no_flags: Why its scores have no flags; None if they have.
    """
    if not 0 <= message.explain <= MOST_EXPLAINED:
        raise invalid(
            "explain", f"is {message.explain}, expected 0 for none, or 1 to {MOST_EXPLAINED} columns of each row"
        )
    if message.explain_all and not message.explain:
        raise invalid("explain_all", "is set without explain, the number of columns to name of each row")
    if message.explain and not message.explain_all and no_flags is not None:
        raise invalid("explain", f"flagged rows are explained, and there are no flags: {no_flags}; set explain_all")


def check_budget(served: Served, budget: int, field: str = "num_samples") -> None:
    """Raise INVALID_ARGUMENT for a number of samples that the model cannot use."""
    if budget not in served.budgets:
        text = f"is {budget}, expected 0 for the calibrated budget, or one of {', '.join(map(str, served.budgets))}"
        raise invalid(field, text)
