"""What all tables give: batches of numeric rows, with a fault for each row that cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from anomaly_vae.arrays import FloatArray

__all__ = ["BATCH_ROWS", "Batch", "Fault", "faults_of", "first_line"]

# Rows in a batch: enough to keep all threads busy, few enough that a progress bar moves often. Chosen, not measured.
BATCH_ROWS = 1024


class Fault(NamedTuple):
    """The reason that a row cannot be used.

    Attributes:
        kind: "unreadable" (a cell is infinite or cannot be read), or "ragged" (too many or too few cells). Results of
            series have further ones, such as "warm-up".
        text: The message for the user, with the name of the column.
    """

    kind: str
    text: str


class Batch(NamedTuple):
    """Some consecutive rows of a table.

    Attributes:
        rows: The requested columns as numbers, float64 (N, columns), NaN where a cell is missing; undefined in faulty
            rows. See :mod:`anomaly_vae.columns.reading.cells`.
        faults: One entry per row, None for rows that can be used.
        kept: The columns to copy to the output, unchanged.
    """

    rows: FloatArray
    faults: list[Fault | None]
    kept: pa.RecordBatch


def faults_of(rows: FloatArray, names: Sequence[str]) -> list[Fault | None]:
    """Return a fault with the column's name for each row (N, D) with an infinite value, else None."""
    faults: list[Fault | None] = [None] * len(rows)
    bad = np.isinf(rows)
    for i in np.flatnonzero(bad.any(axis=1)):
        d = int(bad[i].argmax())
        faults[i] = Fault("unreadable", f"column {names[d]!r} is infinite")
    return faults


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or the name of its class if it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]
