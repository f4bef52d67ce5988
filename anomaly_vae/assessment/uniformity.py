r"""Are new scores like the calibration scores? A test of many rows at once that is exact for any number of rows.

The conformal p-values of many rows share one calibration set, so they are dependent, and a test of their uniformity as
if they were independent finds drift in every large table: the calibration quantiles themselves have an error of order
:math:`1 / \sqrt n`, whatever the number m of new rows. The tests here compare two samples. For a calibration score of
rank k, the number of new scores below it has the negative hypergeometric distribution, also called beta-binomial:

.. math:: P(B = b) = \binom{b + k - 1}{b} \binom{n - k + m - b}{m - b} \Big/ \binom{n + m}{m}

Too many and too few scores below several ranks are tested. Half of the significance is for too many low scores, since
those are anomalies; with two thresholds also for too many high ones. The p-values are combined by Bonferroni's
inequality with these weights.

References:
    Testing for Outliers with Conformal p-values (Bates et al., 2023), section 2, https://arxiv.org/abs/2104.08279
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.assessment.drift_counts import log_p_deficit, log_p_excess
from anomaly_vae.record import Tail

__all__ = ["ScoreShift", "ScoreTest", "score_shift"]

# Shares of the calibration scores whose ranks are tested, and those where anomalies show. Chosen, not measured.
_SHARES = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
_ANOMALOUS_SHARES = (0.01, 0.05, 0.2)


@dataclass(frozen=True, kw_only=True)
class ScoreTest:
    """How many new scores lie below one calibration score.

    Attributes:
        expected: The share of new rows that is expected there.
        found: The share that was found.
        log_p_value: Of this test with its weight, nats.
    """

    expected: float
    found: float
    log_p_value: float


@dataclass(frozen=True, kw_only=True)
class ScoreShift:
    """The scores of new rows beside the calibration scores.

    Attributes:
        log_p_value: Of all tests together, nats.
        strongest: The test with the smallest p-value.
        lower_share: Share of the pairs of a new and a calibration row in which the new one has the lower score, ties
            counted half; 0.5 without drift.
    """

    log_p_value: float
    strongest: ScoreTest
    lower_share: float


def score_shift(
    calibration: FloatArray, num_novel: int, scores: FloatArray, tail: Tail = "low", *, only_low: bool = False
) -> ScoreShift:
    """Compare new scores with the calibration scores.

    Args:
        calibration: Sorted scores of the calibration rows that do not rank below all others, nats, (n - num_novel,).
        num_novel: How many calibration rows rank below all others.
        scores: Scores of new rows, nats, (m,); minus infinity for rows that rank below all others.
        tail: Whether high scores are anomalies as well.
        only_low: Test only for too many low scores, as calibration scores of dependent windows allow.
    """
    everything = np.concatenate([np.full(num_novel, -np.inf), calibration])
    n, m = len(everything), len(scores)
    ordered = np.sort(scores)
    tests = [_test(everything, ordered, k, excess, weight) for k, excess, weight in _plan(n, tail, only_low)]
    strongest = min(tests, key=lambda test: test.log_p_value)
    below = np.searchsorted(ordered, everything, side="left").sum()
    at_most = np.searchsorted(ordered, everything, side="right").sum()
    lower_share = float(below + at_most) / (2.0 * n * m) if m else 0.5
    return ScoreShift(log_p_value=min(strongest.log_p_value, 0.0), strongest=strongest, lower_share=lower_share)


def _plan(n: int, tail: Tail, only_low: bool) -> list[tuple[int, bool, float]]:
    """Return rank, direction (True: too many below) and share of the significance of each test."""
    main = [(k, True) for k in _ranks(n, _ANOMALOUS_SHARES)]
    if only_low:
        return [(k, excess, 1.0 / len(main)) for k, excess in main]
    if tail == "both":
        main += [(n + 1 - k, False) for k, _ in list(main)]
    others = [(int(k), excess) for k in _ranks(n, _SHARES) for excess in (True, False) if (k, excess) not in main]
    return [(k, excess, 0.5 / len(main)) for k, excess in main] + [(k, ex, 0.5 / len(others)) for k, ex in others]


def _ranks(n: int, shares: tuple[float, ...]) -> list[int]:
    ranks: NDArray[np.int64] = np.clip(np.round(np.array(shares) * n).astype(np.int64), 1, n)
    return sorted(set(ranks.tolist()))


def _test(calibration: FloatArray, ordered: FloatArray, k: int, excess: bool, weight: float) -> ScoreTest:
    n, m = len(calibration), len(ordered)
    count = int(np.searchsorted(ordered, calibration[k - 1], side="left" if excess else "right"))
    log_p = log_p_excess(n, m, k, count) if excess else log_p_deficit(n, m, k, count)
    found = count / m if m else 0.0
    return ScoreTest(expected=k / (n + 1.0), found=found, log_p_value=log_p - math.log(weight))
