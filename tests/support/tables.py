"""Small CSV tables, and a function to read a whole table."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa

from anomaly_vae.table.csv import CsvTable

CITIES = "id,city\n1,Oslo\n2,Rome\n3,\n4,Oslo\n"


def read(table, columns=None, keep=(), book=None):
    """Return all rows, faults and kept columns of a table."""
    batches = list(table.batches(columns or table.names, keep, book))
    rows = np.concatenate([batch.rows for batch in batches]) if batches else np.empty((0, len(table.names)))
    faults = [fault and (fault.kind, fault.text) for batch in batches for fault in batch.faults]
    kept = pa.Table.from_batches([batch.kept for batch in batches]) if batches else None
    return rows, faults, kept


def csv_table(text: str | bytes) -> CsvTable:
    data = text.encode() if isinstance(text, str) else text
    return CsvTable(io.BytesIO(data), "text", len(data))
