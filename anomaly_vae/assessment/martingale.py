r"""Watch scores one after the other: a test martingale, and a detector that never has to be restarted.

**p-values that are independent.** The conformal p-values of :mod:`anomaly_vae.calibration` share the calibration rows,
so a bet on them wins from the errors of the calibration quantiles, and in the end always wins. Here each row is ranked
among the calibration rows and all rows before it. The n calibration scores leave n + 1 gaps. If all rows are
exchangeable, the gap of the next row, after t rows of which :math:`c_j` fell into gap j, is that of Pólya's urn:

.. math:: P(\text{gap } j) = \frac{1 + c_j}{n + 1 + t}, \qquad
    p = \frac{\sum_{i < j} (1 + c_i) + \theta (1 + c_j)}{n + 1 + t}, \qquad \theta \sim U(0, 1)

So the p-values are exactly independent and uniform, and memory never grows: only the counts are kept. Gaps are merged
into groups, from the 256th on, whose weights are their numbers of gaps; this changes nothing but the resolution. Scores
that are equal to calibration scores are put at random among them.

**The martingale.** A mixture of bets f on the p-values, :math:`M_t = \prod_s f_s(p_s)`, has mean 1 for ever if nothing
has changed, so :math:`P(\sup_t M_t \ge 1 / \alpha) \le \alpha` (Ville's inequality), whenever one stops to look.

**The detector.** After millions of rows without a change, a martingale has little left to bet with. The detector is the
sum of the martingales that start at each row (Shiryaev, 1963; Roberts, 1966):
:math:`R_t = \sum_k (R_{t-1,k} + \pi_k) f_k(p_t)`. R_t - t is a martingale, so without a change the mean number of rows
until R reaches c is at least c.

A change that stays becomes usual when the rows after it outnumber those before, the calibration rows included: then
the p-values are uniform again, and the detector falls.

References:
    Algorithmic Learning in a Random World (Vovk, Gammerman & Shafer, 2005), chapters 2 and 7
    E-detectors (Shin, Ramdas & Rinaldo, 2022), https://arxiv.org/abs/2203.03532
"""

from __future__ import annotations

import math
import zlib

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.assessment.drift_bets import BETS, LOW_BETS, densities, table_of

__all__ = ["BLOCK", "OnlineRanks", "ScoreWatch"]

# Gaps with a group of their own, at the low end, and groups of the others. They bound the time for a block. Chosen, not
# measured: the groups hold 1 in 512 calibration rows.
_SINGLE_GAPS, _GROUPS = 256, 512

# Rows that are ranked and bet on at once. Results do not depend on how rows arrive: blocks are counted from the first.
BLOCK = 128

# Which rows of a block came before which.
_BEFORE = np.tri(BLOCK, k=-1, dtype=bool)

# The wealth that never bets: the martingale falls slowly below it, if at all. Chosen, not measured.
_IDLE_SHARE = 0.05

# After b blocks, 1 / (b + this) of the wealth is shared: the loss by it grows only with the log of b.
_FIRST_BLOCKS = 10

# The detector stops growing here: a smaller value keeps its guarantee, and float64 holds it times a block of bets.
_LARGEST = 1e50


class OnlineRanks:
    """Turns scores into p-values that are independent and uniform while rows are like the calibration rows."""

    def __init__(self, calibration: FloatArray, num_novel: int, seed: int | None = None) -> None:
        """Take the calibration rows; no other row was seen yet.

        Args:
            calibration: Sorted scores of the calibration rows that do not rank below all others, nats, shape
                (n - num_novel,).
            num_novel: How many calibration rows rank below all others; as new rows they have the score minus infinity.
            seed: Of the random numbers that break ties; None for one that depends on the calibration scores alone, so
                that the same rows give the same p-values.
        """
        everything = np.concatenate([np.full(num_novel, -np.inf), calibration])
        self._rng = np.random.default_rng(zlib.crc32(everything.tobytes()) if seed is None else seed)
        self._values, groups = np.unique(everything, return_inverse=True)
        # A calibration score has the key 2 g + u, with g the number of its value and u random: equal ones get an order.
        self._keys = np.sort(2.0 * groups + self._rng.random(len(everything)))
        self._is_plain = len(self._values) == len(everything)
        self._group_of = _groups_of(len(everything) + 1)
        self._counts = np.bincount(self._group_of).astype(np.float64)
        self._total = float(len(everything) + 1)

    def p_values(self, scores: FloatArray) -> FloatArray:
        """Return the p-values of the next rows, (N,), and count them.

        Args:
            scores: Nats, shape (N,), in the order in which the rows came; N is at most ``BLOCK``.
        """
        random = self._rng.random((len(scores), 2))
        group = self._group_of[self._gaps(scores, random[:, 0])]
        before = _BEFORE[: len(scores), : len(scores)]
        less = _number(before & (group < group[:, None]))
        same = _number(before & (group == group[:, None]))
        counts = self._counts[group]
        below = np.cumsum(self._counts)[group] - counts
        p_values = (below + less + random[:, 1] * (counts + same)) / (self._total + np.arange(len(scores)))
        self._counts += np.bincount(group, minlength=len(self._counts))
        self._total += len(scores)
        return np.asarray(p_values)

    def _gaps(self, scores: FloatArray, random: FloatArray) -> NDArray[np.intp]:
        """Return how many calibration rows are below each row, where equal scores have a random order."""
        value = np.searchsorted(self._values, scores, side="left")
        is_tied = self._values[np.minimum(value, len(self._values) - 1)] == scores
        if self._is_plain and not is_tied.any():
            return value
        keys = np.where(is_tied, 2.0 * value + random, 2.0 * value - 0.5)
        return np.searchsorted(self._keys, keys, side="left")


def _groups_of(num_gaps: int) -> NDArray[np.int16]:
    """Return the group of each gap, (num_gaps,)."""
    single = min(num_gaps, _SINGLE_GAPS)
    further = (np.arange(num_gaps - single) * min(_GROUPS, num_gaps - single)) // max(num_gaps - single, 1)
    return np.concatenate([np.arange(single), single + further]).astype(np.int16)


def _number(marks: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return how many are marked in each row of at most ``BLOCK``; sums of uint8 take a fifth of the time."""
    return np.asarray(marks.view(np.uint8).sum(axis=1, dtype=np.uint8))


class ScoreWatch:
    """The martingale and the detector of one stream of scores. Not safe for several threads.

    Attributes:
        num_rows: Rows that were bet on.
        log_martingale: log M of these rows, nats.
        log_highest: The largest log M so far, nats: -log_highest is the log of a p-value.
        first_row: The row, counted from 1, at which M first reached ``1 / alpha``; None if it has not.
    """

    def __init__(
        self,
        calibration: FloatArray,
        num_novel: int,
        *,
        seed: int | None = None,
        only_low: bool = False,
        alpha: float = 0.01,
    ) -> None:
        """Start before the first row.

        Args:
            calibration, num_novel, seed: As for :class:`OnlineRanks`.
            only_low: Bet only on more low scores, as calibration scores of dependent windows allow.
            alpha: Where ``first_row`` is noted.
        """
        self._ranks = OnlineRanks(calibration, num_novel, seed)
        self._table = table_of(LOW_BETS if only_low else BETS)
        num_bets = self._table.shape[1]
        self._each = np.full(num_bets, 1.0 / num_bets)
        self._idle, self._wealth = _IDLE_SHARE, (1.0 - _IDLE_SHARE) * self._each  # as shares of the martingale
        self._detector, self._log_alarm = np.zeros(num_bets), -math.log(alpha)
        self.num_rows, self.log_martingale, self.log_highest = 0, 0.0, 0.0
        self.first_row: int | None = None

    @property
    def log_detector(self) -> float:
        """Return log R, nats; at least 0, since R stays near 1 or above while it is of use."""
        return float(np.log(max(float(self._detector.sum()), 1.0)))

    def add(self, scores: FloatArray) -> None:
        """Bet on the next rows, by their scores, nats, (N,); minus infinity for rows that rank below all others."""
        start = 0
        while start < len(scores):
            part = scores[start : start + BLOCK - self.num_rows % BLOCK]
            self._add_part(part)
            start += len(part)

    def _add_part(self, scores: FloatArray) -> None:
        bets = densities(self._table, self._ranks.p_values(scores))
        products = np.asarray(np.cumprod(bets, axis=0), dtype=np.float64)
        self._follow_martingale(products)
        self._follow_detector(products)
        self.num_rows += len(scores)
        if self.num_rows % BLOCK == 0:
            self._share_wealth()

    def _follow_martingale(self, products: FloatArray) -> None:
        """Multiply the wealth of each bet, and note the highest sum on the way."""
        path = self._idle + products @ self._wealth
        highest = self.log_martingale + math.log(float(path.max()))
        if self.first_row is None and highest >= self._log_alarm:
            reached = np.log(path) >= self._log_alarm - self.log_martingale
            self.first_row = self.num_rows + 1 + int(np.argmax(reached))
        self.log_highest = max(self.log_highest, highest)
        self.log_martingale += math.log(float(path[-1]))
        self._wealth = products[-1] * self._wealth / path[-1]
        self._idle /= path[-1]

    def _follow_detector(self, products: FloatArray) -> None:
        """R_t = F_t (R_0 + pi sum_{s <= t} 1 / F_{s-1}), with F the products of the bets of this part."""
        starts = 1.0 + (1.0 / products[:-1]).sum(axis=0)
        self._detector = np.minimum(products[-1] * (self._detector + self._each * starts), _LARGEST)

    def _share_wealth(self) -> None:
        """Give a share of the wealth back in the first proportions (Herbster & Warmuth, 1998).

        So bets that lost early can win later. The sum, and with it the martingale, stays the same.
        """
        share = 1.0 / (self.num_rows // BLOCK + _FIRST_BLOCKS)
        self._wealth = (1.0 - share) * self._wealth + share * (1.0 - _IDLE_SHARE) * self._each
        self._idle = (1.0 - share) * self._idle + share * _IDLE_SHARE
