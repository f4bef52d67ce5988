"""Texts and numbers that stand for a missing cell."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.errors import ConfigError

__all__ = ["MISSING_AMONG_NUMBERS", "MISSING_TEXTS", "Markers", "check_markers", "text_of"]

# Texts that mean a missing cell in every column, compared in lower case. Databases write \N.
MISSING_TEXTS = frozenset({"", "na", "n/a", "nan", "null", "none", "nat", "<na>", "#n/a", "#na", "\\n"})

# Texts that also mean a missing cell among numbers, dates and truth values. In a column of texts they are categories.
MISSING_AMONG_NUMBERS = MISSING_TEXTS | {
    "-",
    "--",
    "?",
    ".",
    "unknown",
    "missing",
    "n.a.",
    "(null)",
    "nil",
    "not available",
}

_LONGEST_MISSING = max(map(len, MISSING_TEXTS))

_WHOLE = re.compile(r"^(-?[0-9]+)\.0+$")


class Markers:
    """The markers of missing cells: the usual ones, and those that the user adds."""

    def __init__(self, added: Iterable[str] = ()) -> None:
        """Use the usual markers and ``added`` ones, which hold in every column; numbers are compared as numbers."""
        self.added = tuple(added)
        lower = frozenset(text.strip().lower() for text in self.added)
        self._texts, self._among_numbers = MISSING_TEXTS | lower, MISSING_AMONG_NUMBERS | lower
        self.numbers = np.array([number for text in lower if (number := _number(text)) is not None], dtype=np.float64)

    def in_texts(self, text: str) -> bool:
        """Return whether a cell of a column of texts is missing."""
        return text.lower() in self._texts or (len(self.numbers) > 0 and _number(text) in self.numbers)

    def among_numbers(self, text: str) -> bool:
        """Return whether a cell of a column of numbers, dates or truth values is missing."""
        return text.lower() in self._among_numbers

    def without(self, values: FloatArray) -> FloatArray:
        """Return numbers (N,) with NaN for those that are markers."""
        if not len(self.numbers):
            return values
        return np.where(np.isin(values, self.numbers), np.nan, values)


def check_markers(values: object) -> tuple[str, ...]:
    """Return the markers that a user gave, texts or numbers, as texts; raise ConfigError for other values."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ConfigError(
            f'missing_values must be a list of texts or numbers such as ["unknown", 9999], got {values!r}'
        )
    found = []
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (str, int, float, np.integer, np.floating)):
            raise ConfigError(f"missing_values must hold texts or numbers, got {value!r}")
        if isinstance(value, str) and not value.isprintable():
            raise ConfigError(f"missing_values must hold texts that can be printed, got {value!r}")
        found.append(
            value if isinstance(value, str) else repr(value.item() if isinstance(value, np.generic) else value)
        )
    return tuple(found)


def text_of(value: object) -> str | None:
    """Return a category as text, the same for every type of table; None for a missing cell.

    White space around a text is removed, and so are zeros after the decimal point of a whole number: 3.0, "3.0" and "3"
    are the same category.
    """
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        text = value.strip()
        if len(text) <= _LONGEST_MISSING and text.lower() in MISSING_TEXTS:
            return None
        return _WHOLE.sub(r"\1", text) if text.endswith("0") else text
    if isinstance(value, (bool, np.bool_)):
        return "1" if value else "0"
    if isinstance(value, (float, np.floating)):
        number = float(value)
        if number != number:
            return None
        return str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)
    return str(value)


def _number(text: str) -> float | None:
    try:
        number = float(text.replace("_", "?"))
    except ValueError:
        return None
    return None if number != number else number
