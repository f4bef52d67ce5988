"""Read a whole table at once: series need all rows before the first score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anomaly_vae.arrow.faults import Fault
from anomaly_vae.table.raw import Source

__all__ = ["WholeTable", "read_whole"]


class WholeTable(NamedTuple):
    """All rows of a table.

    Attributes:
        columns: The requested columns of the rows without a fault, as the file has them.
        rows: The number of each of these rows in the file, from 0, shape (n,).
        faults: The other rows, by their number.
        num_rows: Number of rows of the file.
        kept: The columns to copy to the output, unchanged, of all rows.
    """

    columns: pa.Table
    rows: NDArray[np.intp]
    faults: dict[int, Fault]
    num_rows: int
    kept: pa.Table

    def with_missing_rows(self) -> pa.Table:
        """Return the requested columns of all rows; a row with a fault is null in all cells."""
        if not self.faults:
            return self.columns
        places = np.full(self.num_rows, -1, dtype=np.int64)
        places[self.rows] = np.arange(len(self.rows))
        return self.columns.take(pa.array(places, mask=places < 0))


def read_whole(source: Source, names: Sequence[str], keep: Sequence[str] = ()) -> WholeTable:
    """Read these columns of all rows.

    Raises:
        InvalidInput: The file is damaged.
    """
    batches: list[pa.RecordBatch] = []
    faults: dict[int, Fault] = {}
    num_rows = 0
    wanted = list(dict.fromkeys([*names, *keep]))
    for raw in source.batches(wanted):
        faults |= {num_rows + i: fault for i, fault in enumerate(raw.faults) if fault is not None}
        num_rows += raw.columns.num_rows
        batches.append(raw.columns)
    table = pa.Table.from_batches(batches, schema=pa.schema([(name, source.type_of(name)) for name in wanted]))
    usable = np.array([i for i in range(num_rows) if i not in faults], dtype=np.intp)
    columns = table.select(list(names))
    return WholeTable(
        columns=columns if not faults else columns.take(pa.array(usable)),
        rows=usable,
        faults=faults,
        num_rows=num_rows,
        kept=table.select(list(keep)),
    )
