"""The interface of all sources: the rows of a file as it has them, before cells become numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import pyarrow as pa

from anomaly_vae.arrow.faults import Fault
from anomaly_vae.columns.reading.records import Decimal

__all__ = ["RawBatch", "Source"]


class RawBatch(NamedTuple):
    """Some consecutive rows.

    Attributes:
        columns: The requested columns. Formats without types (CSV, JSON lines) give texts, null for an empty cell.
        faults: One entry per row, None for rows that can be used.
    """

    columns: pa.RecordBatch
    faults: list[Fault | None]


class Source(Protocol):
    """A table as a file has it. It can be read once, from the first row to the last.

    Attributes:
        where: Its name in messages.
        names: The names of its columns, as the file has them.
        is_text: Whether all cells are texts that have to be understood, as in CSV and JSON lines.
        decimal: The decimal mark that the numbers of a text format show, "." or ","; None if they show neither.
        certain_decimals: The decimal marks of columns that do not depend on their cells: the user named one, or the
            format has one.
        encoding: The encoding of a text format; None for others.
        notes: What the reader found out about the file, one sentence each, for the user.
    """

    where: str
    names: tuple[str, ...]
    is_text: bool
    decimal: Decimal | None
    certain_decimals: Mapping[str, Decimal]
    encoding: str | None
    notes: tuple[str, ...]

    def type_of(self, name: str) -> pa.DataType:
        """Return the type of a column; a string for formats without types."""
        ...

    def batches(self, names: Sequence[str]) -> Iterator[RawBatch]:
        """Read these columns, in batches of at most BATCH_ROWS rows.

        Raises:
            InvalidInput: The file is damaged.
        """
        ...

    def progress(self) -> tuple[float, float | None]:
        """Return how much was handed out and the total, in the same unit; the total is None if it is unknown."""
        ...
