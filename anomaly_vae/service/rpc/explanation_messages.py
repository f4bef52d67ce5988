"""Explanations to messages."""

from __future__ import annotations

from anomaly_vae.explained import Why
from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.served import Explanations

__all__ = ["MOST_EXPLAINED", "fill_explanations"]

# The most columns of a row that a request may ask for. Chosen, not measured: it bounds the size of a reply.
MOST_EXPLAINED = 16


def fill_explanations(reply: pb.ScoreResponse, explanations: Explanations) -> None:
    """Copy explanations into a reply, one entry per row."""
    for row in explanations:
        reply.explanations.add(why=map(_why, row))


def _why(why: Why) -> pb.Why:
    return pb.Why(
        column=why.column,
        number=None if isinstance(why.value, str) else why.value,
        text=why.value if isinstance(why.value, str) else None,
        nats=why.nats,
        std_error=why.std_error,
        excess=why.excess,
        low=why.low,
        middle=why.middle,
        high=why.high,
        levels=[pb.Level(name=name, probability=probability) for name, probability in why.levels or ()],
        p_value_without=why.p_value_without,
        together=why.together,
        is_novel=why.is_novel,
        cell=why.cell,
    )
