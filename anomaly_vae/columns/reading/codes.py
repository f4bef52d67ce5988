"""Convert the texts of categorical columns to the codes that represent them in rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from anomaly_vae.arrays import FloatArray

__all__ = ["UNSEEN", "CodeBook"]

# The code of a text that is not one of the column's categories, in rows of numbers.
UNSEEN = -1.0


# Texts of one column that training keeps apart. Chosen, not measured: far more than a column of categories may have, so
# the column will be left out, and it bounds the memory that names and free text take.
_MOST_TEXTS = 20_000
_OTHERS = "(other texts)"


class CodeBook:
    """The categories of text columns and their codes 0, 1, 2, ...: those of a model, or those of a training table."""

    def __init__(self, categories: Mapping[str, Sequence[str]] | None = None, *, grows: bool = False) -> None:
        """Use the given categories.

        Args:
            categories: The texts of each categorical column, by name.
            grows: Whether new columns and new categories are added. True for training, False for scoring.
        """
        self.grows = grows
        self._codes = {
            name: {value: float(i) for i, value in enumerate(values)} for name, values in (categories or {}).items()
        }

    def encode(self, name: str, texts: Sequence[str | None]) -> FloatArray:
        """Return the codes of texts, NaN for None, and -1 for a text that is not a category."""
        if self.grows:
            codes = self._codes.setdefault(name, {})
            for text in texts:
                if text is not None and text not in codes:
                    if len(codes) >= _MOST_TEXTS:
                        text = _OTHERS
                    codes.setdefault(text, float(len(codes)))
            if len(codes) > _MOST_TEXTS:
                other = codes[_OTHERS]
                return np.array([np.nan if text is None else codes.get(text, other) for text in texts])
        codes = self._codes[name]
        return np.array([np.nan if text is None else codes.get(text, UNSEEN) for text in texts], dtype=np.float64)

    @property
    def categories(self) -> dict[str, tuple[str, ...]]:
        """The categories of each column, in the order of their codes."""
        return {name: tuple(codes) for name, codes in self._codes.items()}
