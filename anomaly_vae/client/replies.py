"""Replies and failures as clients see them: wire to numpy, status codes to errors of ours."""

from __future__ import annotations

import grpc
import numpy as np
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from grpc_status import rpc_status

from anomaly_vae.client.connection import Connection
from anomaly_vae.client.credentials import TOKEN_VARIABLE
from anomaly_vae.client.failures import is_unconnected, unreachable
from anomaly_vae.errors import InvalidInput, Overloaded, ServiceError
from anomaly_vae.scores import Flags, Part, Scores
from anomaly_vae.service.pb import scoring_pb2 as pb

__all__ = ["explained", "no_scores", "retry_delay", "to_flags", "to_scores"]


def to_scores(reply: pb.ScoreResponse, num_rows: int) -> Scores:
    """The scores of a reply to so many rows; ServiceError if it has another number."""
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
    )
    return _checked(scores, num_rows)


def to_flags(reply: pb.ScoreResponse, num_rows: int) -> Flags:
    """The decisions of a reply to so many rows; ServiceError if it has another number."""
    flags = Flags(
        is_anomaly=np.array(reply.is_anomaly, dtype=bool),
        num_samples=np.array(reply.num_samples, dtype=np.int64),
        reason=[reason or None for reason in reply.reason],
    )
    return _checked(flags, num_rows)


def _checked(found: Part, num_rows: int) -> Part:
    for name, values in vars(found).items():
        if values is not None and len(values) != num_rows:
            raise ServiceError(f"the reply has {len(values)} entries of {name} for {num_rows} rows", code="INTERNAL")
    return found


def no_scores(*, calibrated: bool) -> Scores:
    """Scores of no rows."""
    none = np.empty(0)
    return Scores(
        log_px=none,
        score=none,
        elbo=none,
        std_error=none,
        ess_ratio=none,
        pareto_k=none,
        reliable=np.empty(0, dtype=bool),
        p_value=none if calibrated else None,
        is_anomaly=np.empty(0, dtype=bool) if calibrated else None,
        num_samples=np.empty(0, dtype=np.int64),
        reason=[],
    )


def explained(error: grpc.RpcError, connection: Connection) -> Exception:
    """A failed call as an error of ours, that says what to do."""
    code, address, details = error.code(), connection.target.address, error.details() or ""
    text = f"{address}: {details}"
    field, retry_after = _details(error)
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return InvalidInput(text, field=field)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and retry_after is not None:
        return Overloaded(text, retry_after=retry_after)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        text = f"{address}: no reply in time; ask for fewer rows a call, or allow a longer timeout"
    if code is grpc.StatusCode.UNAUTHENTICATED:
        advice = "is the token the right one?" if connection.metadata else f"set {TOKEN_VARIABLE}, or pass token"
        text = f"{text}; {advice}"
    if is_unconnected(code, details):
        text = f"{address}: {unreachable(details, secure=connection.target.secure)}"
    return ServiceError(text, code=code.name)


def retry_delay(error: grpc.RpcError) -> float | None:
    """Seconds after which the service asks to be called again, where it does."""
    return _details(error)[1]


def _details(error: grpc.RpcError) -> tuple[str | None, float | None]:
    """The field at fault and the seconds to wait, where the status has them."""
    field, retry_after = None, None
    try:
        status = rpc_status.from_call(error)
        for detail in status.details if status else ():
            violations, retry = BadRequest(), RetryInfo()
            if detail.Unpack(violations) and violations.field_violations:
                field = violations.field_violations[0].field
            elif detail.Unpack(retry):
                retry_after = retry.retry_delay.ToMilliseconds() / 1000
    except (ValueError, DecodeError):  # not what the service sends: something between it and us
        pass
    return field, retry_after
