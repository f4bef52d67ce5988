"""Rows of Arrow columns as numbers, with a fault for each row that cannot be used."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from anomaly_vae.arrays import FloatArray
from anomaly_vae.arrow.cells import read_column
from anomaly_vae.arrow.faults import Fault, faults_of
from anomaly_vae.columns.reading.cells import CellReader

__all__ = ["read_rows"]


def read_rows(
    reader: CellReader, columns: pa.RecordBatch, faults: Sequence[Fault | None] | None = None
) -> tuple[FloatArray, list[Fault | None]]:
    """Convert cells to numbers, and collect the faults: those already known first, then a cell, then infinity.

    Args:
        reader: Reads the columns, which it finds by name.
        columns: N rows.
        faults: What is known of the rows before their cells are read, N entries; None for nothing.

    Returns:
        The numbers (N, columns of the reader), undefined in faulty rows, and one entry per row: its fault, or None.

    Raises:
        InvalidInput: A column held something else in training.
    """
    rows = np.empty((columns.num_rows, len(reader.inputs)))
    unreadable: dict[int, Fault] = {}
    for d, name in enumerate(reader.names):
        rows[:, d], bad = read_column(reader, name, columns.column(name))
        for i, text in bad.items():
            unreadable.setdefault(i, Fault("unreadable", f"column {name!r}: {text}"))
    known = faults or [None] * columns.num_rows
    infinite = faults_of(rows, reader.names)
    return rows, [fault or unreadable.get(i) or infinite[i] for i, fault in enumerate(known)]
