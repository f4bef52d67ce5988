"""The ranks of thresholds for a false-positive rate, and the rows that they need."""

from __future__ import annotations

import math
from fractions import Fraction

from anomaly_vae.record import Tail

__all__ = [
    "contrast_rank_of",
    "lowest_target",
    "rate_of_rank",
    "rows_needed",
    "shares",
    "sides",
    "threshold_rank",
    "usable_rank",
]

# Added before rounding down, so that a target slightly below a multiple of 1 / (n + 1) still reaches it.
_ROUNDING_SLACK = Fraction(1, 10**9)

# Rates in messages are multiples of 1 / 10**6.
_DECIMALS = 10**6


def rate_of_rank(n: int, k: int, tail: Tail = "low", contrast_rank: int | None = None) -> float:
    """Return the false-positive rate of thresholds of rank k, which is the largest p-value that is flagged."""
    return (sides(tail) * k if contrast_rank is None else 2 * contrast_rank) / (n + 1)


def sides(tail: Tail) -> int:
    """Return the number of thresholds of the score, which share its part of alpha."""
    return 2 if tail == "both" else 1


def shares(tail: Tail, contrast: bool) -> int:
    """Return into how many parts alpha is divided for one threshold of the score; half is the contrast's, if any."""
    return sides(tail) * (2 if contrast else 1)


def contrast_rank_of(n: int, k: int, target_fpr: float, confidence: float | None = None, tail: Tail = "low") -> int:
    """Return the rank of the threshold of the contrast, beside one of rank k for the score.

    It is that for alpha / 2, and such that the p-value of a row of rank k has the same limit: the score's rank is this
    one divided by its number of thresholds, rounded down.
    """
    most = sides(tail) * (k + 1) - 1
    return max(min(threshold_rank(n, target_fpr, confidence, contrast=True), most), sides(tail) * k)


def threshold_rank(
    n: int, target_fpr: float, confidence: float | None = None, tail: Tail = "low", *, contrast: bool = False
) -> int:
    r"""Return the rank k of the threshold among n sorted calibration scores; 0 if n is too small for the target.

    Flagging the scores strictly below the k-th smallest has a false-positive rate of at most k / (n + 1), averaged
    over calibration sets:

    .. math:: k = \lfloor \alpha (n + 1) + 10^{-9} \rfloor,

    in exact arithmetic on the shortest decimal form of alpha. With a confidence, the rate is at most alpha with that
    probability over calibration sets:

    .. math:: k = \max \{ k : \mathrm{BinomCDF}(k - 1; n, \alpha) \le 1 - \mathrm{confidence} \}

    Two thresholds have alpha / 2 and half of 1 - confidence each, and half of that beside a contrast. Their ranks are
    at most n / 2: so the lower threshold is not above the upper one, and no score is beyond both.

    References:
        Conditional Validity of Inductive Conformal Predictors (Vovk, 2012), https://arxiv.org/abs/1209.2673
    """
    most, parts = n // sides(tail), shares(tail, contrast)
    if confidence is None:
        share = Fraction(repr(float(target_fpr))) / parts
        return min(math.floor(share * (n + 1) + _ROUNDING_SLACK), most)
    rate, doubt = target_fpr / parts, (1.0 - confidence) / parts
    log_odds = math.log(rate) - math.log1p(-rate)
    log_pmf, cumulative, k = n * math.log1p(-rate), 0.0, 0
    while k < most:
        cumulative += math.exp(log_pmf)
        if cumulative > doubt:
            break
        k += 1
        log_pmf += log_odds + math.log((n - k + 1) / k)
    return k


def rows_needed(
    target_fpr: float, confidence: float | None = None, tail: Tail = "low", *, contrast: bool = False
) -> int:
    """Return the smallest number of calibration rows for which a threshold at this target exists."""
    parts = shares(tail, contrast)
    if confidence is None:
        return math.ceil(parts / Fraction(repr(float(target_fpr)))) - 1
    needed = math.log((1.0 - confidence) / parts) / math.log1p(-target_fpr / parts)
    return max(math.ceil(needed), parts)


def usable_rank(
    n: int, target_fpr: float, confidence: float | None = None, tail: Tail = "low", *, contrast: bool = False
) -> int:
    """Return the rank of the threshold; 1, the lowest score, if n is too small for the target."""
    return max(threshold_rank(n, target_fpr, confidence, tail, contrast=contrast), 1)


def lowest_target(
    n: int, k: int, confidence: float | None = None, tail: Tail = "low", *, contrast: bool = False
) -> float:
    """Return the lowest false-positive rate whose threshold has at least rank k, rounded up to 6 decimals."""
    if confidence is None:
        return math.ceil(Fraction(shares(tail, contrast) * k * _DECIMALS, n + 1)) / _DECIMALS
    low, high = 0, _DECIMALS  # the rank is below k at low, and not at high
    while high - low > 1:
        middle = (low + high) // 2
        found = threshold_rank(n, middle / _DECIMALS, confidence, tail, contrast=contrast)
        low, high = (low, middle) if found >= k else (middle, high)
    return high / _DECIMALS
