"""How the user says that a table is read."""

from __future__ import annotations

from dataclasses import dataclass

from anomaly_vae.columns.reading.records import Decimal

__all__ = ["ReadOptions"]


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How to read a table; None means that the file itself shows it, and that all rows count.

    Attributes:
        separator: Character between the cells of a CSV file.
        decimal: Decimal mark of numbers, "." or ",".
        encoding: Name of an encoding that Python knows, such as "latin-1".
        filter: Only rows for which this is true are read, as after WHERE in SQL.
    """

    separator: str | None = None
    decimal: Decimal | None = None
    encoding: str | None = None
    filter: str | None = None
