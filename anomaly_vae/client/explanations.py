"""Explanations in replies."""

from __future__ import annotations

from anomaly_vae.errors import ConfigError, ServiceError
from anomaly_vae.explained import Why
from anomaly_vae.service.pb import scoring_pb2 as pb

__all__ = ["check_top", "to_explanations"]


def check_top(top: object, model: pb.Model) -> int:
    """Return the number of columns to name of each row.

    Raises:
        ConfigError: The service explains no rows, or not with this number.
    """
    most = model.limits.max_explain
    if not most:
        raise ConfigError("the service is of a release that explains no rows; upgrade it, or load the model itself")
    if isinstance(top, bool) or not isinstance(top, int) or not 1 <= top <= most:
        raise ConfigError(f"top must be a whole number from 1 to {most} for this service, got {top!r}")
    return top


def to_explanations(reply: pb.ScoreResponse, num_rows: int) -> list[list[Why]]:
    """Return the explanations in a reply to ``num_rows`` rows; raise ServiceError if it has another number of them."""
    if len(reply.explanations) != num_rows:
        text = f"the reply has {len(reply.explanations)} explanations for {num_rows} rows"
        raise ServiceError(text, code="INTERNAL")
    return [[_why(why) for why in row.why] for row in reply.explanations]


def _why(why: pb.Why) -> Why:
    value = why.WhichOneof("value")
    return Why(
        column=why.column,
        value=None if value is None else getattr(why, value),
        nats=why.nats,
        std_error=why.std_error,
        excess=why.excess,
        low=why.low if why.HasField("low") else None,
        middle=why.middle if why.HasField("middle") else None,
        high=why.high if why.HasField("high") else None,
        levels=tuple((level.name, level.probability) for level in why.levels) or None,
        p_value_without=why.p_value_without if why.HasField("p_value_without") else None,
        together=tuple(why.together),
        is_novel=why.is_novel,
        cell=why.cell if why.HasField("cell") else None,
    )
