"""Replies to arrays, and failed calls to the package's errors."""

from __future__ import annotations

from dataclasses import replace

import grpc
import numpy as np
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from grpc_status import rpc_status

from anomaly_vae.client.connection import ConnectionSettings
from anomaly_vae.client.credentials import TOKEN_VARIABLE
from anomaly_vae.client.failures import explain_unconnected, is_unconnected
from anomaly_vae.errors import InvalidInput, Overloaded, ServiceError
from anomaly_vae.scores import Flags, Part, Scores
from anomaly_vae.service.pb import scoring_pb2 as pb

__all__ = ["empty_flags", "empty_scores", "requested_delay_s", "to_error", "to_flags", "to_scores"]


def to_scores(reply: pb.ScoreResponse, num_rows: int) -> Scores:
    """Return the scores in a reply to ``num_rows`` rows; raise ServiceError if it has another number of rows."""
    calibrated = len(reply.p_value) > 0
    scores = Scores(
        log_px=np.array(reply.log_px, dtype=np.float64),
        score=np.array(reply.score, dtype=np.float64),
        elbo=np.array(reply.elbo, dtype=np.float64),
        std_error=np.array(reply.std_error, dtype=np.float64),
        ess_ratio=np.array(reply.ess_ratio, dtype=np.float64),
        pareto_k=np.array(reply.pareto_k, dtype=np.float64),
        reliable=np.array(reply.reliable, dtype=bool),
        p_value=np.array(reply.p_value, dtype=np.float64) if calibrated else None,
        is_anomaly=np.array(reply.is_anomaly, dtype=bool) if calibrated else None,
        num_samples=np.array(reply.num_samples, dtype=np.int64),
        reason=[reason or None for reason in reply.reason],
        contrast=np.array(reply.contrast, dtype=np.float64) if len(reply.contrast) else None,
        **_origin(reply),
    )
    return _checked(scores, num_rows)


def to_flags(reply: pb.ScoreResponse, num_rows: int) -> Flags:
    """Return the flags in a reply to ``num_rows`` rows; raise ServiceError if it has another number of rows."""
    flags = Flags(
        is_anomaly=np.array(reply.is_anomaly, dtype=bool),
        num_samples=np.array(reply.num_samples, dtype=np.int64),
        reason=[reason or None for reason in reply.reason],
        **_origin(reply),
    )
    return _checked(flags, num_rows)


def _origin(reply: pb.ScoreResponse) -> dict[str, str | None]:
    """Return which model has scored the rows of a reply."""
    return {"model_version": reply.model_version or None, "bundle_digest": reply.bundle_digest or None}


def _checked(results: Part, num_rows: int) -> Part:
    for name, values in results.by_row().items():
        if values is not None and len(values) != num_rows:
            raise ServiceError(f"the reply has {len(values)} entries of {name} for {num_rows} rows", code="INTERNAL")
    return results


def empty_scores(*, calibrated: bool) -> Scores:
    """Return scores of 0 rows, with or without p-values and flags."""
    scores = to_scores(pb.ScoreResponse(), 0)
    return replace(scores, p_value=np.empty(0), is_anomaly=np.empty(0, dtype=bool)) if calibrated else scores


def empty_flags() -> Flags:
    """Return flags of 0 rows."""
    return to_flags(pb.ScoreResponse(), 0)


def to_error(failure: grpc.RpcError, settings: ConnectionSettings) -> Exception:
    """Return the package's error for a failed call: what happened and what to do."""
    code, address, details = failure.code(), settings.target.address, failure.details() or ""
    text = f"{address}: {details}"
    field, delay_s = _details(failure)
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return InvalidInput(text, field=field)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and delay_s is not None:
        return Overloaded(text, retry_after=delay_s)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        text = f"{address}: no reply in time; send fewer rows per call or set a longer timeout"
    if code is grpc.StatusCode.UNAUTHENTICATED:
        advice = "is the token the right one?" if settings.metadata else f"set {TOKEN_VARIABLE}, or pass token"
        text = f"{text}; {advice}"
    if is_unconnected(code, details):
        text = f"{address}: {explain_unconnected(details, secure=settings.target.secure)}"
    return ServiceError(text, code=code.name)


def requested_delay_s(failure: grpc.RpcError) -> float | None:
    """Return the seconds that the service requests to wait before the next call, or None."""
    return _details(failure)[1]


def _details(failure: grpc.RpcError) -> tuple[str | None, float | None]:
    """Return the field at fault and the seconds to wait, where the status has them."""
    field, delay_s = None, None
    try:
        status = rpc_status.from_call(failure)
        for detail in status.details if status else ():
            violations, retry = BadRequest(), RetryInfo()
            if detail.Unpack(violations) and violations.field_violations:
                field = violations.field_violations[0].field
            elif detail.Unpack(retry):
                delay_s = retry.retry_delay.ToMilliseconds() / 1000
    except (ValueError, DecodeError):  # not from our service: a proxy answered, for example
        pass
    return field, delay_s
