"""What all tables give: batches of numeric rows, with a fault for each row that cannot be used."""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa

from anomaly_vae.arrays import FloatArray
from anomaly_vae.arrow.faults import Fault

__all__ = ["BATCH_ROWS", "Batch", "first_line"]

# Rows in a batch: enough to keep all threads busy, few enough that a progress bar moves often. Chosen, not measured.
BATCH_ROWS = 1024


class Batch(NamedTuple):
    """Some consecutive rows of a table.

    Attributes:
        rows: The requested columns as numbers, float64 (N, columns), NaN where a cell is missing; undefined in faulty
            rows. See :mod:`anomaly_vae.columns.reading.cells`.
        faults: One entry per row, None for rows that can be used.
        kept: The columns to copy to the output, unchanged.
        fragment: Number of the file, from 0; rows of a file follow each other.
    """

    rows: FloatArray
    faults: list[Fault | None]
    kept: pa.RecordBatch
    fragment: int = 0


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or the name of its class if it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]
