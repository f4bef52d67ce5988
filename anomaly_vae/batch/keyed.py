"""Results that are held until all rows are scored: records with the keys by which rows are ordered at their end."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from anomaly_vae.arrow.buffers import from_numpy, scatter, to_float64
from anomaly_vae.batch.selection import NUM_KEYS, Part

__all__ = ["KEY_FIELDS", "lowest_rows", "with_keys", "without_keys"]

# The columns of :func:`~anomaly_vae.batch.selection.order_keys`, null in rows without a score.
KEY_FIELDS = [pa.field(f"key_{i}", pa.float64()) for i in range(NUM_KEYS)]


def with_keys(part: Part) -> pa.RecordBatch:
    """Return the records of a part with its keys, which it must have."""
    if part.keys is None:
        raise ValueError("the part has no keys")
    columns = [*part.records.columns, *(scatter(key, part.usable) for key in part.keys.T)]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema([*part.records.schema, *KEY_FIELDS]))


def without_keys(records: pa.RecordBatch) -> Part:
    """Return the part of records that :func:`with_keys` made, with the flags of their column ``is_anomaly``."""
    columns, fields = records.columns[:-NUM_KEYS], list(records.schema)[:-NUM_KEYS]
    plain = pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))
    keys = np.column_stack([to_float64(column) for column in records.columns[-NUM_KEYS:]])
    usable = ~np.isnan(keys[:, -1])  # the last key is the number of the row
    is_anomaly = plain.column("is_anomaly")
    has_flags = is_anomaly.null_count < len(is_anomaly)
    flags = to_float64(is_anomaly)[usable].astype(bool) if has_flags else None
    return Part(plain, usable, flags, keys[usable])


def lowest_rows(records: pa.Table, num_rows: int) -> pa.Table:
    """Return the rows with the lowest keys, in the order in which they were; rows without keys are left out."""
    keys = np.column_stack([to_float64(records.column(field.name).combine_chunks()) for field in KEY_FIELDS])
    usable = np.flatnonzero(~np.isnan(keys[:, -1]))
    lowest = usable[np.lexsort(keys[usable].T[::-1])[:num_rows]]
    return records.take(from_numpy(np.sort(lowest)))
