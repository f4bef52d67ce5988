"""How a training went: what its evaluations found, and the part of it that the manifest keeps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from anomaly_vae.bundle.manifest import MOST_POINTS, Curve

__all__ = ["Point", "curve_of"]

# Significant digits of a value in the manifest. Chosen, not measured: a picture shows four at most.
_DIGITS = 7


class Point(NamedTuple):
    """What one evaluation found, nats in model units.

    Attributes:
        step: Steps done.
        training: Mean over the training batches since the evaluation before, minus the loss.
        held_out: Mean ELBO of the held-out rows.
    """

    step: int
    training: float
    held_out: float


def curve_of(history: Sequence[Point], offset: float) -> Curve | None:
    """Return at most MOST_POINTS evaluations, evenly spread, the last one among them; None if there are none.

    Args:
        history: All evaluations, in order. Those that are not finite are left out.
        offset: Converts an ELBO to data units; it is added. Nats.
    """
    finite = [point for point in history if math.isfinite(point.training) and math.isfinite(point.held_out)]
    if not finite:
        return None
    count = min(len(finite), MOST_POINTS)
    chosen = [finite[round(i)] for i in np.linspace(len(finite) - 1, 0, count)[::-1].tolist()]
    return Curve(
        steps=tuple(int(point.step) for point in chosen),
        training=tuple(_rounded(point.training + offset) for point in chosen),
        held_out=tuple(_rounded(point.held_out + offset) for point in chosen),
    )


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
