"""The interface of all sources: the rows of a file as it has them, before cells become numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import pyarrow as pa

from anomaly_vae.arrow.faults import Fault
from anomaly_vae.columns.reading.records import Decimal

__all__ = ["Fragment", "RawBatch", "Source"]


class Fragment(NamedTuple):
    """A file of a table.

    Attributes:
        name: Its path from the folder of the data set, with slashes; for a single file its name.
        where: Its name in messages.
        size: Bytes.
        modified_ns: When it was last written, nanoseconds since 1970.
    """

    name: str
    where: str
    size: int
    modified_ns: int


class RawBatch(NamedTuple):
    """Some consecutive rows.

    Attributes:
        columns: The requested columns. Formats without types (CSV, JSON lines) give texts, null for an empty cell.
        faults: One entry per row, None for rows that can be used.
        fragment: Number of the file, from 0; rows of a file follow each other.
    """

    columns: pa.RecordBatch
    faults: list[Fault | None]
    fragment: int = 0


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
        fragments: The files; empty for a pipe.
    """

    where: str
    names: tuple[str, ...]
    is_text: bool
    decimal: Decimal | None
    certain_decimals: Mapping[str, Decimal]
    encoding: str | None
    notes: tuple[str, ...]
    fragments: tuple[Fragment, ...]

    @property
    def skipped(self) -> Mapping[int, str]:
        """What is wrong with files that were left out, by their number; complete once the last row is read."""
        ...

    def type_of(self, name: str) -> pa.DataType:
        """Return the type of a column; a string for formats without types."""
        ...

    def batches(self, names: Sequence[str]) -> Iterator[RawBatch]:
        """Read these columns, in batches of at most BATCH_ROWS rows.

        Raises:
            InvalidInput: The file is damaged.
        """
        ...

    def skip_to(self, fragment: int) -> None:
        """Read no files before this one from now on, except one that is being read."""
        ...

    def close(self) -> None:
        """Close the file; reading it to its end does so too."""
        ...

    def progress(self) -> tuple[float, float | None]:
        """Return how much was handed out and the total, in the same unit; the total is None if it is unknown."""
        ...
