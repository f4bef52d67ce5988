"""Whether two models decide alike, and order rows alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.assessment.proportions import Proportion, proportion
from anomaly_vae.assessment.ranking import average_ranks
from anomaly_vae.record import Record

__all__ = ["Agreement", "agreement", "spearman"]


class Agreement(Record):
    """The flags of two models, A and B, on the same rows.

    Attributes:
        both, only_a, only_b, neither: Rows by who flags them.
        changed: The share of rows with another decision.
        kappa: Cohen's kappa: 1 for equal flags, 0 for flags that agree as often as by chance. None where it is not
            defined, because both models flag every row or none.
    """

    both: int
    only_a: int
    only_b: int
    neither: int
    changed: Proportion
    kappa: float | None


def agreement(a: NDArray[np.bool_], b: NDArray[np.bool_], confidence: float) -> Agreement:
    """Compare the flags of two models on N rows, at least one.

    Args:
        a, b: Which rows each model flags, shape (N,).
        confidence: That of the interval.

    References:
        A Coefficient of Agreement for Nominal Scales (Cohen, 1960), https://doi.org/10.1177/001316446002000104
    """
    both, only_a, only_b = int((a & b).sum()), int((a & ~b).sum()), int((~a & b).sum())
    total = len(a)
    neither = total - both - only_a - only_b
    changed = proportion(only_a + only_b, total, confidence)
    if changed is None:
        raise ValueError("there are no rows to compare")
    share_a, share_b = (both + only_a) / total, (both + only_b) / total
    by_chance = share_a * share_b + (1.0 - share_a) * (1.0 - share_b)
    kappa = None if by_chance >= 1.0 else (1.0 - changed.share - by_chance) / (1.0 - by_chance)
    return Agreement(both=both, only_a=only_a, only_b=only_b, neither=neither, changed=changed, kappa=kappa)


def spearman(a: FloatArray, b: FloatArray) -> float | None:
    """Return Spearman's rank correlation of two orders of N rows; None if one of them has a single level.

    Args:
        a, b: Values, shape (N,); equal values share their mean rank.
    """
    ranks_a, ranks_b = average_ranks(a) - 0.5 * (len(a) + 1), average_ranks(b) - 0.5 * (len(b) + 1)
    spread = float(np.sqrt((ranks_a @ ranks_a) * (ranks_b @ ranks_b)))
    return float(np.clip(ranks_a @ ranks_b / spread, -1.0, 1.0)) if spread else None
