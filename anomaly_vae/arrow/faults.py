"""Why rows cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from anomaly_vae.arrays import FloatArray

__all__ = ["Fault", "faults_of"]


class Fault(NamedTuple):
    """The reason that a row cannot be used.

    Attributes:
        kind: "unreadable" (a cell is infinite or cannot be read), or "ragged" (too many or too few cells). Results of
            series have further ones, such as "warm-up".
        text: The message for the user, with the name of the column.
    """

    kind: str
    text: str


def faults_of(rows: FloatArray, names: Sequence[str]) -> list[Fault | None]:
    """Return a fault with the column's name for each row (N, D) with an infinite value, else None."""
    faults: list[Fault | None] = [None] * len(rows)
    bad = np.isinf(rows)
    for i in np.flatnonzero(bad.any(axis=1)):
        d = int(bad[i].argmax())
        faults[i] = Fault("unreadable", f"column {names[d]!r} is infinite")
    return faults
