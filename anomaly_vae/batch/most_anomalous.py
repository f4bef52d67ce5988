"""The most anomalous rows of a job, with the cells that help to recognise them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray

__all__ = ["MostAnomalous", "ShownRow"]

# Rows that are kept. Chosen, not measured: a page that people read to its end.
_MOST_ROWS = 20


@dataclass
class ShownRow:
    """A row as a report shows it.

    Attributes:
        number: Its number in the input, from 1.
        keys: What it is ordered by; see :func:`anomaly_vae.batch.selection.order_keys`.
        score: Nats.
        p_value: None without p-values.
        is_anomaly: Whether it is flagged; None if there are no flags, or they are not decided yet.
        reason: Why it has this score, if that is known.
        cells: Names and values of its columns: texts, numbers or None.
    """

    number: int
    keys: list[float]
    score: float
    p_value: float | None
    is_anomaly: bool | None
    reason: str | None
    cells: list[tuple[str, Any]]


class MostAnomalous:
    """Keeps the 20 rows with the lowest keys, in their order."""

    def __init__(self) -> None:
        self.rows: list[ShownRow] = []

    def add(self, keys: FloatArray, shown: Callable[[int], ShownRow]) -> None:
        """Take rows.

        Args:
            keys: What they are ordered by, shape (n, 4).
            shown: Returns one of them by its place, 0 to n - 1; only called for rows that are kept.
        """
        if len(self.rows) == _MOST_ROWS:  # most batches have no row that comes before the last one
            last = self.rows[-1].keys
            places = np.flatnonzero((keys[:, 0] < last[0]) | ((keys[:, 0] == last[0]) & (keys[:, 1] <= last[1])))
        else:
            places = np.arange(len(keys))
        if not len(places):
            return
        first = places[np.lexsort(keys[places].T[::-1])[:_MOST_ROWS]]
        candidates = [(row.keys, row) for row in self.rows]
        candidates += [(of_row, i) for i, of_row in zip(first.tolist(), keys[first].tolist(), strict=True)]
        candidates.sort(key=lambda each: each[0])  # the last key is the number of the row, so no two are equal
        self.rows = [shown(row) if isinstance(row, int) else row for _, row in candidates[:_MOST_ROWS]]

    def decided(self, flags: NDArray[np.bool_], first_row: int) -> None:
        """Take the flags of consecutive rows, shape (N,), from this number on."""
        for row in self.rows:
            if first_row <= row.number < first_row + len(flags):
                row.is_anomaly = bool(flags[row.number - first_row])

    def state(self) -> list[dict[str, Any]]:
        """Return everything as plain values of JSON, which has no infinity: such numbers are texts."""
        return [asdict(row) | {"keys": _written(row.keys), "score": _written([row.score])[0]} for row in self.rows]

    def restore(self, state: Sequence[dict[str, Any]]) -> None:
        """Go on from a :meth:`state`."""
        self.rows = [
            ShownRow(
                **{
                    **each,
                    "keys": [float(key) for key in each["keys"]],
                    "score": float(each["score"]),
                    "cells": [(name, value) for name, value in each["cells"]],
                }
            )
            for each in state
        ]


def _written(values: Sequence[float]) -> list[float | str]:
    return [value if math.isfinite(value) else str(value) for value in values]
