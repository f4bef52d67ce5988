"""The array type of the package, numbers of rows, and the standard normal log-density."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LOG_2PI", "FloatArray", "GrowingRows", "row_number", "row_numbers", "standard_normal_log_prob"]

FloatArray = NDArray[np.float64]

# Rows that fit before the first growth. Chosen, not measured.
_FIRST_ROWS = 4096

LOG_2PI = math.log(2.0 * math.pi)


def standard_normal_log_prob(z: FloatArray) -> FloatArray:
    r"""Return the log-density of N(0, I), summed over the last axis.

    .. math:: \log p(z) = -\tfrac12 \sum_l \bigl[ \log 2\pi + z_l^2 \bigr]

    Args:
        z: Values, shape (..., L).

    Returns:
        Nats, shape (...,).
    """
    return np.asarray(-0.5 * (LOG_2PI + z**2).sum(axis=-1))


def row_number(key: Any, num_rows: int) -> int | None:
    """Return the row that an integer chooses, negative ones counted from the end; None if it is not an integer.

    Raises:
        IndexError: There is no such row.
    """
    if isinstance(key, bool):  # an integer to Python; numpy's are none
        return None
    try:
        number = operator.index(key)
    except TypeError:
        return None
    if not -num_rows <= number < num_rows:
        raise IndexError(_no_such_row(number, num_rows))
    return number % num_rows


def row_numbers(key: Any, num_rows: int) -> NDArray[np.intp]:
    """Return the rows that a mask or a list of integers chooses, negative ones counted from the end.

    Args:
        key: A mask of shape (num_rows,), or integers of any number: arrays, lists, or a pandas Series.
        num_rows: Number of rows.

    Raises:
        TypeError: It is neither a mask nor integers.
        IndexError: The mask has another length, or there is no such row.
    """
    array = np.asarray(key)
    if array.ndim == 1 and array.dtype == bool:
        if len(array) != num_rows:
            raise IndexError(f"the mask has {len(array)} entries, there are {num_rows} rows")
        return np.flatnonzero(array)
    if array.ndim != 1 or not (len(array) == 0 or np.issubdtype(array.dtype, np.integer)):
        found = f"an array of shape {array.shape} and type {array.dtype}" if array.ndim else type(key).__name__
        raise TypeError(
            f"rows are chosen by an integer, a slice, a mask of bool or a list of integers, not by {found}; "
            "fields are attributes, such as scores.log_px"
        )
    wrong = array[(array < -num_rows) | (array >= num_rows)]
    if len(wrong):
        raise IndexError(_no_such_row(wrong[0], num_rows))
    numbers = array.astype(np.intp)
    return np.where(numbers < 0, numbers + num_rows, numbers)


def _no_such_row(number: int, num_rows: int) -> str:
    return f"there is no row {number}: there are {num_rows} rows, counted from 0"


class GrowingRows:
    """Rows that are appended part by part, and are in memory once: a list of parts would need them twice at its end."""

    def __init__(self, num_columns: int) -> None:
        self._rows, self._num_rows = np.empty((_FIRST_ROWS, num_columns)), 0

    def append(self, part: FloatArray) -> None:
        """Append rows (n, columns)."""
        end = self._num_rows + len(part)
        if end > len(self._rows):
            # The system moves the pages of a large block instead of copying them. numpy fills the new rows, which takes
            # memory at once, so the growth is small.
            self._rows.resize((max(end, len(self._rows) * 9 // 8), self._rows.shape[1]), refcheck=False)
        self._rows[self._num_rows : end] = part
        self._num_rows = end

    def finished(self) -> FloatArray:
        """Return all rows, (N, columns); nothing may be appended after that."""
        self._rows.resize((self._num_rows, self._rows.shape[1]), refcheck=False)
        return self._rows
