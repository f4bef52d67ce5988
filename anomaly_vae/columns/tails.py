r"""Outside a column's training range: the axis is stretched, so that densities fall as the column's own tails do.

A head with heavy tails makes every value bearable, and a head that is wider than the gap to a bound, such as zero, puts
probability behind the bound. Both hide wrong values. So the head sees a value outside the range further away than it
is. Inside the range nothing changes. With a the end of the range, e the distance to it and T the column's transform:

.. math:: y(x) = T(a) \pm T'(a) \, B(e), \qquad \log p(x) = \log p(y(x)) + \log T'(a) + \log B'(e)

.. math:: B(e) = J + S \left( \Bigl( 1 + \frac{e}{p L} \Bigr)^p - 1 \right)

For large p the stretch is exponential. B increases, so p(x) is a density. The jump J leaves out what the head puts just
behind a bound: that probability belongs to no value, and p(x) integrates to 1 minus it. Values that are drawn there
become the end of the range.

The probability of a point of a grid outside the range is that of the head times B'(e), a term of a Riemann sum. So the
sum over these points is approximate.

:mod:`anomaly_vae.training.tails` chooses the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.record import Record

__all__ = ["Stretch", "Tail", "Tails"]

# log((1 + e / (p L))^p) from which the stretch is linear: distances grow by a factor of 160,000 at most, and densities
# stay finite. Chosen, not measured: with 8 in place of 12, four tables of the benchmark errors gave the same figures.
_MOST_LOG = 12.0

_Length = Annotated[float, Meta(gt=0.0)]
_Distance = Annotated[float, Meta(ge=0.0)]


class Tail(Record):
    """One side of a column. All fields but ``power`` are in data units.

    Attributes:
        end: The last training value.
        margin: The stretch starts this far outside ``end``: half a step of a grid, or what rounding may change.
        jump, size, length, power: J, S, L and p.
    """

    end: float
    margin: _Distance
    jump: _Distance
    size: _Length
    length: _Length
    power: Annotated[float, Meta(ge=1.0, le=1e6)]


class Tails(Record):
    """Both sides of a column."""

    low: Tail
    high: Tail

    @property
    def ends(self) -> FloatArray:
        """Where the stretches start: a of both sides, shape (2,)."""
        return np.array([self.low.end - self.low.margin, self.high.end + self.high.margin])


# Stands for a side of a column without tails: no value is outside it.
_ANY = Tail(end=0.0, margin=0.0, jump=0.0, size=1.0, length=1.0, power=1.0)


class Stretch:
    """The tails of M columns, for all cells of a table at once."""

    def __init__(self, tails: Sequence[Tails | None]) -> None:
        """Take the tails of each column; None for a column without."""
        self._num_columns = len(tails)
        ends = [(-np.inf, np.inf) if each is None else each.ends for each in tails]
        self.low, self.high = np.array(ends).reshape(-1, 2).T
        # Sides are numbered: the low sides of all columns, then the high sides.
        sides = [_ANY if each is None else each.low for each in tails]
        sides += [_ANY if each is None else each.high for each in tails]
        self._end, self._jump, self._size, self._length, self._power = (
            np.array([getattr(side, name) for side in sides]) for name in ("end", "jump", "size", "length", "power")
        )
        self._far = self._power * self._length * np.expm1(_MOST_LOG / self._power)
        self._far_slope = self._size / self._length * np.exp(_MOST_LOG * (1.0 - 1.0 / self._power))

    def outside(self, values: FloatArray) -> NDArray[np.bool_]:
        """Return which cells of values (N, M) are outside the range; a missing cell is not."""
        return np.asarray((values < self.low) | (values > self.high))

    def forward(self, values: FloatArray, columns: NDArray[np.intp]) -> tuple[FloatArray, FloatArray]:
        """Return B, negative on the low side, and log B' of values outside the range.

        Args:
            values: Data units, shape (n,).
            columns: The column of each value, shape (n,).
        """
        above = values > self.high[columns]
        with np.errstate(over="ignore"):  # an infinite distance is clipped by the caller
            distance = np.where(above, values - self.high[columns], self.low[columns] - values)
        side = columns + self._num_columns * above
        length, power, size, far = (each[side] for each in (self._length, self._power, self._size, self._far))
        log_growth = power * np.log1p(np.minimum(distance, far) / (power * length))
        with np.errstate(over="ignore"):
            beyond = self._far_slope[side] * np.maximum(distance - far, 0.0)
            stretched = self._jump[side] + size * np.expm1(log_growth) + beyond
        return np.where(above, stretched, -stretched), np.log(size / length) + (1.0 - 1.0 / power) * log_growth

    def inverse(self, stretched: FloatArray, column: int) -> FloatArray:
        """Return the values of one column from B, which is negative on the low side and not 0, data units, (n,).

        B less than the jump gives the end of the range.
        """
        above = stretched > 0.0
        side = column + self._num_columns * above
        length, power, size = self._length[side], self._power[side], self._size[side]
        rest = np.abs(stretched) - self._jump[side]
        log_growth = np.minimum(np.log1p(np.maximum(rest, 0.0) / size), _MOST_LOG)
        distance = power * length * np.expm1(log_growth / power)
        distance += np.maximum(rest - size * np.expm1(_MOST_LOG), 0.0) / self._far_slope[side]
        values = np.where(above, self.high[column] + distance, self.low[column] - distance)
        return np.asarray(np.where(rest < 0.0, self._end[side], values))
