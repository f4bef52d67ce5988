r"""Bets that p-values are not uniform: densities f(p) on [0, 1], large where p-values come more often after a change.

If p-values are uniform, the mean of f(p) is 1, so no system of bets wins on average. Each bet is given by its
distribution function F. Its density is constant within each of a few hundred bins, :math:`f = \Delta F / \Delta p`, so
that bets are looked up in a table, and their mean is still exactly 1.

References:
    Testing Randomness Online (Vovk, 2021), https://arxiv.org/abs/1906.09256
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from anomaly_vae.arrays import FloatArray

__all__ = ["BETS", "LOW_BETS", "Bet", "densities", "table_of"]

# From p-values to the probability of a smaller one.
Bet = Callable[[FloatArray], FloatArray]

# Bins are narrow at the ends, where anomalies are: they start at 1e-6, and have a width of 0.005 in the middle.
_END = np.geomspace(1e-6, 0.01, 65)
_EDGES = np.concatenate([[0.0], _END, np.linspace(0.01, 0.99, 197)[1:-1], 1.0 - _END[::-1], [1.0]])


def _step(width: float, share: float) -> Bet:
    """A share of the rows have p-values in [0, width], the others in [0, 1]."""
    return lambda p: (1.0 - share) * p + share * np.minimum(p / width, 1.0)


def _power(exponent: float) -> Bet:
    return lambda p: np.asarray(p**exponent)


def _slope(slope: float) -> Bet:
    """The density falls from 1 + slope to 1 - slope."""
    return lambda p: p + slope * p * (1.0 - p)


def _spread(size: float) -> Bet:
    """The density is 1 + size at both ends, and 1 - size / 2 in the middle."""
    return lambda p: p + size * p * (1.0 - p) * (1.0 - 2.0 * p)


def _mirrored(bet: Bet) -> Bet:
    return lambda p: 1.0 - bet(1.0 - p)


# More low scores: a few or many anomalies, or all rows less normal. These bets fall with p, so they are also fair where
# p-values are larger than uniform ones. Small bets notice more in the end: as changed rows join the reference, the
# change looks smaller. Chosen among four sets on simulated scores with 165 to 5,000 calibration rows: with 1,000, five
# per cent of anomalies below all rows are noticed after 130 rows.
LOW_BETS: tuple[Bet, ...] = (
    _step(0.01, 0.03),
    _step(0.03, 0.03),
    _step(0.08, 0.05),
    _power(0.85),
    _slope(0.3),
    _step(0.02, 0.5),
)
# Any change: also more high scores, more of both ends, or more of the middle.
BETS: tuple[Bet, ...] = (
    *LOW_BETS,
    _mirrored(_power(0.85)),
    _slope(-0.3),
    _spread(0.6),
    _spread(-0.6),
)


@functools.cache  # there are two tables
def table_of(bets: tuple[Bet, ...]) -> FloatArray:
    """Return f of K bets in each bin, shape (bins, K)."""
    shares = np.stack([np.diff(bet(_EDGES)) for bet in bets], axis=-1)
    table = np.asarray(shares / np.diff(_EDGES)[:, None])
    table.setflags(write=False)
    return table


def densities(table: FloatArray, p_values: FloatArray) -> FloatArray:
    """Return f(p) of p-values (N,) for each bet of a table, shape (N, K)."""
    return np.asarray(table[np.searchsorted(_EDGES[1:-1], p_values, side="right")])
