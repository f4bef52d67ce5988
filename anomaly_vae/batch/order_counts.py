"""Counts along the input order, in a fixed number of parts whatever the number of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["OrderCounts"]

# Parts that the input has at most. Chosen, not measured: a picture 400 pixels wide shows no more. It is even, so that
# parts merge in pairs.
_MOST_PARTS = 200


class OrderCounts:
    """Counts marked rows in parts of equal length. When the parts are full, neighbours merge and lengths double.

    So the input has between 100 and 200 parts from its 100th row on, and the counts do not depend on how it was cut
    into batches.
    """

    def __init__(self) -> None:
        """Start with parts of one row."""
        self.rows_per_part = 1
        self.counts: NDArray[np.int64] = np.zeros(_MOST_PARTS, dtype=np.int64)

    def add(self, marked: NDArray[np.bool_], first_row: int) -> None:
        """Count the marked rows among consecutive rows.

        Args:
            marked: Shape (N,).
            first_row: The number of the first one, from 1.
        """
        while first_row - 1 + len(marked) > _MOST_PARTS * self.rows_per_part:
            merged = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.concatenate([merged, np.zeros_like(merged)])
            self.rows_per_part *= 2
        places = (first_row - 1 + np.flatnonzero(marked)) // self.rows_per_part
        self.counts += np.bincount(places, minlength=_MOST_PARTS)

    def state(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {"rows_per_part": self.rows_per_part, "counts": self.counts.tolist()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state`."""
        self.rows_per_part = int(state["rows_per_part"])
        self.counts = np.array(state["counts"], dtype=np.int64)
