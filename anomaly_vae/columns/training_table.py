"""A table to train on: its rows as numbers, how they were read, and what was found on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.findings import Finding
from anomaly_vae.columns.reading.records import Input, NumberReading, TextReading
from anomaly_vae.errors import InvalidInput

__all__ = ["TrainingTable", "sort_categories"]

# Characters of a text in messages.
_SHOWN = 30


class TrainingTable(NamedTuple):
    """A table to train on.

    Attributes:
        inputs: Its columns, also those that are left out.
        rows: The cells of the columns that are not left out, shape (N, columns): see
            :mod:`anomaly_vae.columns.reading.cells`.
        categories: The texts of each column of text, by its name; rows hold their indices.
        findings: What the user should know about the columns.
        missing_values: Markers of missing cells beside the usual ones.
        encoding: The encoding of a text file.
        has_names: Whether the columns have names of their own, and come in the order of the table: columns that number
            the rows are then left out.
        required: Names of columns that the user asked for: they are not left out in silence.
    """

    inputs: tuple[Input, ...]
    rows: FloatArray
    categories: Mapping[str, tuple[str, ...]]
    findings: tuple[Finding, ...] = ()
    missing_values: tuple[str, ...] = ()
    encoding: str | None = None
    has_names: bool = True
    required: frozenset[str] = frozenset()

    @classmethod
    def of_numbers(
        cls, rows: FloatArray, names: Sequence[str], categories: Mapping[str, tuple[str, ...]] | None = None
    ) -> TrainingTable:
        """Return a table of plain numbers and of texts that ``categories`` lists; none of its columns is a number."""
        texts = categories or {}
        inputs = (Input(name=name, reading=TextReading() if name in texts else NumberReading()) for name in names)
        return cls(inputs=tuple(inputs), rows=rows, categories=texts, has_names=False)

    @property
    def used_inputs(self) -> tuple[Input, ...]:
        """The columns of ``rows``."""
        return tuple(each for each in self.inputs if each.is_read)


def sort_categories(
    tables: Sequence[FloatArray], names: Sequence[str], categories: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    """Sort the categories of each column, so that codes do not depend on the order of the rows.

    Args:
        tables: Rows (N, columns); their codes are changed in place.
        names: The names of the columns.
        categories: The categories in the order of the codes.

    Returns:
        The sorted categories, in the order of the new codes.
    """
    found: dict[str, tuple[str, ...]] = {}
    for d, name in enumerate(names):
        if name not in categories:
            continue
        found[name] = tuple(sorted(categories[name]))
        if (odd := next(filter(_is_broken, found[name]), None)) is not None:
            raise InvalidInput(f"column {name!r} holds {odd[:_SHOWN]!r}, which is no valid Unicode text", field=name)
        place = {text: float(i) for i, text in enumerate(found[name])}
        codes = np.array([place[text] for text in categories[name]])
        for rows in tables:
            known = ~np.isnan(rows[:, d])
            rows[known, d] = codes[rows[known, d].astype(np.int64)]
    return found


def _is_broken(text: str) -> bool:
    """Return whether a text cannot be written to a file: it holds half a character (a lone surrogate)."""
    return not text.isascii() and any("\ud800" <= each <= "\udfff" for each in text)
