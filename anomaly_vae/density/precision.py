"""How precise an estimate of log p(x) has to be."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Precision"]


class Precision(NamedTuple):
    """An error target and a cap.

    Attributes:
        target_error: Sampling of a row ends when its standard error is at most this, nats.
        num_samples: Most decoder evaluations of a row, over all members.
    """

    target_error: float
    num_samples: int
