r"""Decisions over a whole batch: the Benjamini-Hochberg procedure on conformal p-values, in exact arithmetic.

Of m tests with sorted p-values :math:`p_{(1)} \le \dots \le p_{(m)}`, those with :math:`p \le p_{(k)}` are flagged,
where

.. math:: k = \max \{ i : p_{(i)} \le q \, i / m \}.

If normal rows are like the calibration rows, the share of normal rows among the flagged ones is at most q on average.
The p-values share one set of n calibration rows and so depend on each other, but positively enough: they are PRDS.

A conformal p-value is a multiple j / (n + 1), so counting the tests at each j is exact and needs at most n + 1 numbers,
whatever m is. The comparison is one of integers: a p-value exactly on the line counts as below it, as in the
definition, and equal p-values always share one decision.

References:
    Controlling the False Discovery Rate (Benjamini & Hochberg, 1995), https://doi.org/10.1111/j.2517-6161.1995.tb02031.x
    Testing for Outliers with Conformal p-values (Bates et al., 2023), https://arxiv.org/abs/2104.08279
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.record import Tail

__all__ = ["Discoveries", "PValueGrid", "benjamini_hochberg"]


class PValueGrid(NamedTuple):
    """The values that conformal p-values can have: multiples of 1 / (n + 1).

    Attributes:
        num_rows: n, the number of calibration rows.
        smallest: The smallest p-value is smallest / (n + 1).
        bundle_digest: The model that a service scores with; None for a model that this process has opened itself.
    """

    num_rows: int
    smallest: int
    bundle_digest: str | None = None

    @classmethod
    def of(
        cls, num_rows: int, num_novel: int, tail: Tail, *, contrast: bool, bundle_digest: str | None = None
    ) -> PValueGrid:
        """Return the grid of a calibration.

        Args:
            num_rows: n, the number of calibration rows.
            num_novel: How many of them rank below all others: at or below every score, but not above any.
            tail: Whether only low scores are anomalies, or also high ones.
            contrast: Whether the model has a contrast. Then, and with two tails, p-values are twice the smaller one.
            bundle_digest: As for the class.
        """
        smallest = 1 + num_novel if tail == "low" and not contrast else 2
        return cls(num_rows, min(smallest, num_rows + 1), bundle_digest)

    @property
    def smallest_p_value(self) -> float:
        """The smallest p-value that is possible."""
        return self.smallest / (self.num_rows + 1)

    def multiples(self, p_values: FloatArray) -> NDArray[np.int64]:
        """Return j of p-values j / (n + 1), shape (N,).

        Raises:
            ValueError: A p-value is not on the grid: it is from other calibration rows.
        """
        found = np.rint(p_values * (self.num_rows + 1.0))
        # The same division as for the p-values: both are the float64 number nearest to the fraction.
        on_grid = (found / (self.num_rows + 1.0) == p_values) & (found >= 1) & (found <= self.num_rows + 1)
        if not on_grid.all():
            raise ValueError(f"{p_values[~on_grid][0]} is no p-value of {self.num_rows} calibration rows")
        return found.astype(np.int64)


class Discoveries(NamedTuple):
    """The decision over m tests.

    Attributes:
        rate: q, the largest share of normal rows among the flagged ones, on average.
        grid: The values of the p-values.
        num_tests: m.
        num_flagged: Tests whose p-value is at most the cut-off.
        cut_off: The largest flagged p-value is cut_off / (n + 1); 0 if none is flagged.
        num_smallest: Tests with the smallest p-value that is possible.
    """

    rate: float
    grid: PValueGrid
    num_tests: int
    num_flagged: int
    cut_off: int
    num_smallest: int

    @property
    def p_value_cut_off(self) -> float | None:
        """The largest flagged p-value; None if none is flagged."""
        return self.cut_off / (self.grid.num_rows + 1) if self.num_flagged else None

    @property
    def expected_false_alarms(self) -> float:
        """How many of m normal rows would have a p-value up to the cut-off; at most rate x num_flagged."""
        return self.num_tests * self.cut_off / (self.grid.num_rows + 1)

    @property
    def needed(self) -> int:
        """How many tests must have the smallest p-value for these alone to be flagged; at least 1."""
        share = Fraction(self.grid.smallest, self.grid.num_rows + 1) / _exact(self.rate)
        return max(1, math.ceil(share * self.num_tests))

    @property
    def rows_needed(self) -> int:
        """The number of calibration rows with which as many tests at the smallest p-value would be flagged; n if none.

        It takes the smallest multiple of the p-values as it is, so it is a rough guide.
        """
        if not self.num_smallest:
            return self.grid.num_rows
        share = Fraction(self.grid.smallest * self.num_tests, self.num_smallest) / _exact(self.rate)
        return math.ceil(share) - 1


def benjamini_hochberg(counts: Mapping[int, int], rate: float, grid: PValueGrid) -> Discoveries:
    """Return the decision of the Benjamini-Hochberg procedure.

    Args:
        counts: The number of tests with the p-value j / (n + 1), by j.
        rate: q, between 0 and 1; its shortest decimal form counts, so 0.1 is exactly one tenth.
        grid: The values of the p-values.
    """
    num_tests, seen, found = sum(counts.values()), 0, (0, 0)
    limit = _exact(rate) * (grid.num_rows + 1)
    for j in sorted(counts):
        seen += counts[j]
        if j * num_tests * limit.denominator <= limit.numerator * seen:
            found = (j, seen)
    cut_off, num_flagged = found
    return Discoveries(rate, grid, num_tests, num_flagged, cut_off, counts.get(grid.smallest, 0))


def _exact(rate: float) -> Fraction:
    return Fraction(repr(float(rate)))
