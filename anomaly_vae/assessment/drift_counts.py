r"""Exact tests that compare counts in new rows with counts in calibration rows.

If the m new rows and the n calibration rows are exchangeable, every order of the n + m rows is equally likely. So among
any rows that are chosen without regard to which are new, the number of new rows is hypergeometric. This holds for
fixed n and m, and whatever the distribution of the rows is. Ties make the tests conservative.
"""

from __future__ import annotations

import math

import numpy as np

__all__ = ["log_p_deficit", "log_p_excess", "log_p_level", "log_tail"]

# Terms of a tail that are added at once, and the share of the sum below which further terms are left out.
_TERMS, _NEGLIGIBLE = 256, 1e-17


def log_tail(total: int, marked: int, drawn: int, least: int) -> float:
    r"""Return log P(X >= least), nats, for the number X of marked ones among some that are drawn.

    .. math:: P(X = x) = \binom{K}{x} \binom{N - K}{d - x} \Big/ \binom{N}{d}

    Args:
        total: N, the number of all.
        marked: K, how many of them are marked.
        drawn: d, how many are drawn, without putting any back.
        least: The count.

    Returns:
        At most 0; minus infinity if so many are not possible.
    """
    if least <= max(0, drawn + marked - total):
        return 0.0
    if least > min(drawn, marked):
        return -math.inf
    if least * total <= drawn * marked:  # at most the mean: the other tail is short
        others = math.exp(log_tail(total, total - marked, drawn, drawn - least + 1))
        return math.log1p(-others) if others < 1.0 else -math.inf
    first = _log_binomial(marked, least) + _log_binomial(total - marked, drawn - least) - _log_binomial(total, drawn)
    return min(first + math.log(_relative_sum(total, marked, drawn, least)), 0.0)


def log_p_excess(n: int, m: int, rank: int, below: int) -> float:
    """Return the log p-value, nats, of how many new rows lie below a calibration row, if too many are tested for.

    The b-th new row lies below the calibration row of this rank exactly if the first b + rank - 1 of all rows hold at
    least b new ones.

    Args:
        n, m: Number of calibration rows, and of new rows.
        rank: The rank of the calibration row, from 1 to n.
        below: How many new rows are strictly below it.
    """
    return log_tail(n + m, m, below + rank - 1, below)


def log_p_deficit(n: int, m: int, rank: int, at_most: int) -> float:
    """Return the log p-value, nats, of how many new rows lie at or below a calibration row, if too few are tested for.

    Args:
        n, m, rank: As for :func:`log_p_excess`.
        at_most: How many new rows are at or below it.
    """
    return log_tail(n + m, n, at_most + rank, rank)


def log_p_level(n: int, m: int, calibration: int, new: int) -> tuple[float, float]:
    """Return the log p-values, nats, of a property that some rows have: too many new rows have it, or too few.

    This is Fisher's exact test. Its p-values hold given the number of all rows with the property.

    Args:
        n, m: Number of calibration rows, and of new rows.
        calibration, new: How many of them have the property.
    """
    both = calibration + new
    return log_tail(n + m, m, both, new), log_tail(n + m, n, both, calibration)


def _relative_sum(total: int, marked: int, drawn: int, least: int) -> float:
    """Return P(X >= least) / P(X = least) for a count above the mean, where the terms decrease."""
    most, found, term, x = min(drawn, marked), 1.0, 1.0, least
    while x < most and term > _NEGLIGIBLE * found:
        steps = np.arange(x, min(x + _TERMS, most), dtype=np.float64)
        up = (marked - steps) * (drawn - steps)
        terms = term * np.cumprod(up / ((steps + 1.0) * (total - marked - drawn + steps + 1.0)))
        found, term, x = found + float(terms.sum()), float(terms[-1]), x + len(steps)
    return found


def _log_binomial(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
