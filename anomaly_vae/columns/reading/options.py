"""How the user says that text files are read."""

from __future__ import annotations

from dataclasses import dataclass

from anomaly_vae.columns.reading.records import Decimal

__all__ = ["ReadOptions"]


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How to read text formats; None means that the file itself shows it.

    Attributes:
        separator: Character between the cells of a CSV file.
        decimal: Decimal mark of numbers, "." or ",".
        encoding: Name of an encoding that Python knows, such as "latin-1".
    """

    separator: str | None = None
    decimal: Decimal | None = None
    encoding: str | None = None
