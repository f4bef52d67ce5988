"""The interface of all tables: batches of numeric rows, with a fault for each row that cannot be used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from anomaly_vae.arrays import FloatArray
from anomaly_vae.errors import InvalidInput
from anomaly_vae.table.codes import CodeBook

__all__ = ["BATCH_ROWS", "Batch", "Fault", "Table", "faults_of", "first_line", "wrong_type"]

# Rows in a batch: enough to keep all threads busy, few enough that a progress bar moves often. Chosen, not measured.
BATCH_ROWS = 1024


class Fault(NamedTuple):
    """The reason that a row cannot be used.

    Attributes:
        kind: "unreadable" (a cell is infinite or not a number), or "ragged" (too many or too few cells).
        text: The message for the user, with the name of the column.
    """

    kind: Literal["unreadable", "ragged"]
    text: str


class Batch(NamedTuple):
    """Some consecutive rows of a table.

    Attributes:
        rows: The requested columns, float64 (N, D), NaN where a cell is missing; undefined in faulty rows.
        faults: One entry per row, None for rows that can be used.
        kept: The columns to copy to the output, unchanged.
    """

    rows: FloatArray
    faults: list[Fault | None]
    kept: pa.RecordBatch


class Table(Protocol):
    """A table that can be read once, from the first row to the last.

    Attributes:
        names: The names of its columns.
    """

    names: tuple[str, ...]

    def schema_of(self, keep: Sequence[str]) -> pa.Schema:
        """Return the names and types of the kept columns."""
        ...

    def batches(
        self, columns: Sequence[str], keep: Sequence[str] = (), book: CodeBook | None = None
    ) -> Iterator[Batch]:
        """Read the table in batches.

        Args:
            columns: Columns to read as numbers.
            keep: Columns to return unchanged.
            book: Columns in it are read as text and converted to the codes of their categories.

        Raises:
            InvalidInput: A column has the wrong type, or the table is damaged.
        """
        ...

    def progress(self) -> tuple[float, float | None]:
        """Return the amount read and the total, in the same unit; the total is None if it is unknown."""
        ...


def faults_of(rows: FloatArray, names: Sequence[str]) -> list[Fault | None]:
    """Return a fault with the column's name for each row (N, D) with an infinite value, else None."""
    faults: list[Fault | None] = [None] * len(rows)
    bad = np.isinf(rows)
    for i in np.flatnonzero(bad.any(axis=1)):
        d = int(bad[i].argmax())
        faults[i] = Fault("unreadable", f"column {names[d]!r} is infinite")
    return faults


def wrong_type(where: str, name: str, found: str) -> InvalidInput:
    """Return the error for a column that is not numeric."""
    return InvalidInput(
        f"{where}: column {name!r} holds {found}, expected numbers",
        field=name,
    )


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or the name of its class if it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]
