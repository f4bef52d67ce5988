"""Explanations as messages."""

from __future__ import annotations

from anomaly_vae.client.explanations import to_explanations
from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.rpc.explanation_messages import fill_explanations
from tests.support.whys import WHYS


def test_explanations_survive_the_wire_bit_for_bit():
    """Also an absent value, a negative zero and a missing p-value."""
    explanations = [WHYS[:1], [], WHYS]
    reply = pb.ScoreResponse()
    fill_explanations(reply, explanations)
    reply = pb.ScoreResponse.FromString(reply.SerializeToString())
    assert to_explanations(reply, 3) == explanations
    assert str(to_explanations(reply, 3)[2][2].value) == "-0.0"


def test_without_explanations_the_reply_has_none():
    reply = pb.ScoreResponse()
    fill_explanations(reply, [])
    assert not reply.explanations
