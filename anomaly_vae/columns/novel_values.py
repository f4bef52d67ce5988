"""Which cells of a table hold a value that training never had, for all columns at once.

A model may have thousands of columns, so there is no loop over them when rows are scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray

__all__ = ["NovelValues"]

# Values with a relative difference below 1e-12 count as equal, as in anomaly_vae.columns.kinds.
_ROUNDING = 1e-12


class NovelValues:
    """The columns in which a value can be novel, by what they hold."""

    def __init__(
        self, constants: Mapping[int, float], sizes: Mapping[int, int], binary: Sequence[int], counts: Sequence[int]
    ) -> None:
        """Take the columns.

        Args:
            constants: Numbers of the columns with one value, and that value, data units.
            sizes: Numbers of the columns of text, and how many categories they have.
            binary: Numbers of the columns of 0 and 1.
            counts: Numbers of the columns of whole numbers from 0.
        """
        self._constants, self._texts = (np.array(list(each), dtype=np.intp) for each in (constants, sizes))
        self._values, self._sizes = np.array(list(constants.values())), np.array(list(sizes.values()))
        self._binary, self._counts = (np.array(each, dtype=np.intp) for each in (binary, counts))
        with np.errstate(over="ignore"):
            self._float32 = self._values.astype(np.float32)
        self._any = any(map(len, (constants, sizes, binary, counts)))

    def cells(self, rows: FloatArray) -> NDArray[np.bool_]:
        """Return which cells of rows (N, D) hold a value that training never had, shape (N, D)."""
        novel = np.zeros(rows.shape, dtype=bool)
        if not self._any:
            return novel
        if len(self._constants):
            novel[:, self._constants] = self._changed(rows[:, self._constants])
        if len(self._texts):
            codes = rows[:, self._texts]
            novel[:, self._texts] = ~((codes >= 0) & (codes < self._sizes) & (codes == np.floor(codes)))
        if len(self._binary):
            values = rows[:, self._binary]
            novel[:, self._binary] = (values != 0.0) & (values != 1.0)
        if len(self._counts):
            values = rows[:, self._counts]
            novel[:, self._counts] = (values < 0.0) | (values != np.floor(values))
        return novel & ~np.isnan(rows)

    def _changed(self, values: FloatArray) -> NDArray[np.bool_]:
        with np.errstate(over="ignore"):  # rows may come from float32, where 0.1 is another number
            same = (values.astype(np.float32) == self._float32) & np.isfinite(self._float32)
            differs = np.abs(values - self._values) > _ROUNDING * np.abs(self._values)
        return np.asarray(~same & differs)
