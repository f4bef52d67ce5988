"""What every kind of table gives: batches of numbers, and a fault for each row that cannot be used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from anomaly_vae.densities import FloatArray
from anomaly_vae.errors import InvalidInput
from anomaly_vae.table.codes import CodeBook

__all__ = ["BATCH_ROWS", "Batch", "Fault", "Table", "faults_of", "first_line", "wrong_type"]

# Enough rows to keep every thread busy, few enough for a lively progress bar.
BATCH_ROWS = 1024


class Fault(NamedTuple):
    """Why a row cannot be used.

    Attributes:
        kind: "unreadable" cell (no number, infinite), or "ragged" row (too many or too few cells).
        text: For the user; names the column.
    """

    kind: Literal["unreadable", "ragged"]
    text: str


class Batch(NamedTuple):
    """Some consecutive rows of a table.

    Attributes:
        rows: The columns asked for, float64 (N, D), NaN where a cell is missing, and anything in faulty rows.
        faults: One entry a row, None for rows that can be used.
        kept: The columns to pass through, as they are.
    """

    rows: FloatArray
    faults: list[Fault | None]
    kept: pa.RecordBatch


class Table(Protocol):
    """A table that can be read once, from front to back."""

    names: tuple[str, ...]

    def schema_of(self, keep: Sequence[str]) -> pa.Schema:
        """The names and types with which the kept columns come."""
        ...

    def batches(
        self, columns: Sequence[str], keep: Sequence[str] = (), book: CodeBook | None = None
    ) -> Iterator[Batch]:
        """Read the named columns as numbers, those of the book as categories, and the kept ones as they are."""
        ...

    def progress(self) -> tuple[float, float | None]:
        """How much was read and how much there is, in some unit; None where that is unknown."""
        ...


def faults_of(rows: FloatArray, names: Sequence[str]) -> list[Fault | None]:
    """A fault for each row of (N, D) that holds an infinity, naming its first such column."""
    faults: list[Fault | None] = [None] * len(rows)
    bad = np.isinf(rows)
    for i in np.flatnonzero(bad.any(axis=1)):
        d = int(bad[i].argmax())
        faults[i] = Fault("unreadable", f"column {names[d]!r} is infinite")
    return faults


def wrong_type(where: str, name: str, found: str) -> InvalidInput:
    """The error for a column of text or another type that is no number."""
    return InvalidInput(
        f"{where}: column {name!r} holds {found}, expected numbers",
        field=name,
    )


def first_line(error: BaseException) -> str:
    """The first line of an error's text."""
    return (str(error).splitlines() or [type(error).__name__])[0]
