"""Texts of categorical columns to the numbers that stand for them in rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from anomaly_vae.densities import FloatArray
from anomaly_vae.schema import UNSEEN

__all__ = ["CodeBook"]


class CodeBook:
    """The categories of text columns: those of a model, or those met while a table is read for training."""

    def __init__(
        self, categories: Mapping[str, Sequence[str]] | None = None, *, grows: bool = False, text: Sequence[str] = ()
    ) -> None:
        """Start with these.

        Args:
            categories: The texts of each categorical column, by name.
            grows: Whether further columns of text, and further categories, are welcome.
            text: Columns to read as text whatever they hold.
        """
        self.grows = grows
        self._codes = {
            name: {value: float(i) for i, value in enumerate(values)} for name, values in (categories or {}).items()
        }
        self._codes |= {name: {} for name in text}

    def __contains__(self, name: str) -> bool:
        """Whether a column is read as text."""
        return name in self._codes

    def add(self, name: str) -> None:
        """Read a column as text from now on."""
        self._codes.setdefault(name, {})

    def encode(self, name: str, texts: Sequence[str | None]) -> FloatArray:
        """Numbers for the texts of a column, NaN for None, -1 for what is no category."""
        codes = self._codes[name]
        if self.grows:
            for text in texts:
                if text is not None and text not in codes:
                    codes[text] = float(len(codes))
        return np.array([np.nan if text is None else codes.get(text, UNSEEN) for text in texts], dtype=np.float64)

    @property
    def categories(self) -> dict[str, tuple[str, ...]]:
        """The texts of each column, in the order of their numbers."""
        return {name: tuple(codes) for name, codes in self._codes.items()}
