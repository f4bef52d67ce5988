"""Convert the texts of categorical columns to the codes that represent them in rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.schema import UNSEEN

__all__ = ["CodeBook"]


class CodeBook:
    """The categories of text columns and their codes 0, 1, 2, ...: those of a model, or those of a training table."""

    def __init__(
        self, categories: Mapping[str, Sequence[str]] | None = None, *, grows: bool = False, text: Sequence[str] = ()
    ) -> None:
        """Use the given categories.

        Args:
            categories: The texts of each categorical column, by name.
            grows: Whether new text columns and new categories are added. True for training, False for scoring.
            text: Columns to read as text even if they contain numbers.
        """
        self.grows = grows
        self._codes = {
            name: {value: float(i) for i, value in enumerate(values)} for name, values in (categories or {}).items()
        }
        self._codes |= {name: {} for name in text}

    def __contains__(self, name: str) -> bool:
        """Return whether a column is read as text."""
        return name in self._codes

    def add(self, name: str) -> None:
        """Read a column as text from now on."""
        self._codes.setdefault(name, {})

    def encode(self, name: str, texts: Sequence[str | None]) -> FloatArray:
        """Return the codes of texts, NaN for None, and -1 for a text that is not a category."""
        codes = self._codes[name]
        if self.grows:
            for text in texts:
                if text is not None and text not in codes:
                    codes[text] = float(len(codes))
        return np.array([np.nan if text is None else codes.get(text, UNSEEN) for text in texts], dtype=np.float64)

    @property
    def categories(self) -> dict[str, tuple[str, ...]]:
        """The categories of each column, in the order of their codes."""
        return {name: tuple(codes) for name, codes in self._codes.items()}
