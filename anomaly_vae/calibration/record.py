"""A calibration in the manifest: how it is computed, what it lacks, and what it says about other rates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.calibration.ranks import (
    contrast_rank_of,
    lowest_target,
    rate_of_rank,
    rows_needed,
    shares,
    threshold_rank,
    usable_rank,
)
from anomaly_vae.errors import ConfigError, InvalidInput
from anomaly_vae.record import Count, Positive, Rate, Record, Tail

__all__ = ["Calibration", "calibrate", "caveats", "rank_for", "threshold_at_rank"]


class Calibration(Record):
    """The threshold, or both, and their origin.

    Attributes:
        num_rows: n, the number of calibration rows.
        num_novel: How many of them rank below all others, because of a value that training never had; fewer than rank.
        target_fpr: alpha, the requested false-positive rate.
        confidence: Confidence that the false-positive rate is at most alpha; None bounds its mean.
        rank: k; the threshold is the k-th smallest score, and the upper one the k-th largest.
        effective_fpr: k / (n + 1); 2 k / (n + 1) with two thresholds.
        threshold: The k-th smallest score, nats. Lower scores are anomalies.
        tail: Whether only low scores are anomalies, or also high ones.
        upper_threshold: The k-th largest score, nats. Higher scores are anomalies. None if only low ones are.
        contrast_rank: The rank of the threshold of the contrast among the n contrasts of the calibration rows; None
            for a model without a contrast. Then effective_fpr is 2 contrast_rank / (n + 1).
        contrast_threshold: The contrast of this rank, nats. Rows with a lower contrast are anomalies.
    """

    num_rows: Positive
    num_novel: Count
    target_fpr: Rate
    confidence: Rate | None
    rank: Positive
    effective_fpr: Rate
    threshold: float
    tail: Tail = "low"
    upper_threshold: float | None = None
    contrast_rank: Positive | None = None
    contrast_threshold: float | None = None


def calibrate(
    scores: FloatArray,
    lowest: NDArray[np.bool_],
    target_fpr: float,
    confidence: float | None = None,
    tail: Tail = "low",
    contrast: FloatArray | None = None,
) -> tuple[Calibration, FloatArray]:
    """Compute the threshold from calibration scores; with too few rows for the target, it is the lowest score.

    Args:
        scores: Scores of the calibration rows, nats, shape (n,).
        lowest: Which of them rank below all others, shape (n,); fewer than
            :func:`~anomaly_vae.calibration.ranks.usable_rank`.
        target_fpr: Share of normal rows that may be flagged.
        confidence: Confidence for that share over calibration sets; None bounds its mean.
        tail: Whether only low scores are anomalies, or also high ones.
        contrast: The contrasts of the calibration rows, nats, shape (n,); None for a model without a contrast.

    Returns:
        The record for the manifest, and the sorted scores of the other rows.

    Raises:
        InvalidInput: There are fewer rows than thresholds, which share the false-positive rate.
    """
    n, least = len(scores), shares(tail, contrast is not None)
    if n < least:
        rows, number = "row" if n == 1 else "rows", {2: "two", 4: "four"}[least]
        raise InvalidInput(f"got {n} calibration {rows}, {number} thresholds need at least {least}; give more rows")
    k = usable_rank(n, target_fpr, confidence, tail, contrast=contrast is not None)
    of_contrast = None if contrast is None else contrast_rank_of(n, k, target_fpr, confidence, tail)
    kept, num_novel = np.sort(scores[~lowest]), int(lowest.sum())
    record = Calibration(
        num_rows=n,
        num_novel=num_novel,
        target_fpr=target_fpr,
        confidence=confidence,
        rank=k,
        effective_fpr=rate_of_rank(n, k, tail, of_contrast),
        threshold=threshold_at_rank(kept, num_novel, k),
        tail=tail,
        upper_threshold=float(kept[-k]) if tail == "both" else None,
        contrast_rank=of_contrast,
        contrast_threshold=None if contrast is None else float(np.sort(contrast)[(of_contrast or 1) - 1]),
    )
    return record, kept


def threshold_at_rank(calibration: FloatArray, num_novel: int, k: int) -> float:
    """Return the k-th smallest calibration score, nats.

    Args:
        calibration: Sorted scores of the rows that do not rank below all others, nats, shape (n - num_novel,).
        num_novel: How many rows rank below all others.
        k: Rank, from num_novel + 1 to n.
    """
    return float(calibration[k - num_novel - 1])


def caveats(record: Calibration) -> list[str]:
    """Return one warning for each reason why the calibration does not meet the requested target."""
    warnings = []
    n, target, contrast = record.num_rows, record.target_fpr, record.contrast_rank is not None
    if threshold_rank(n, target, record.confidence, record.tail, contrast=contrast) == 0:
        are = "the threshold is the lowest" if record.tail == "low" else "the thresholds are the lowest and the highest"
        warnings.append(
            f"{n} calibration rows are too few for target_fpr {target:g}{_divided(record.tail, contrast)}, which needs "
            f"n >= {rows_needed(target, record.confidence, record.tail, contrast=contrast)}; {are} of their scores, "
            f"the effective target {record.effective_fpr:.3g}"
        )
    return warnings


def _divided(tail: Tail, contrast: bool) -> str:
    """Return what divides the false-positive rate, as the end of a phrase."""
    parts = ["the tail 'both'"] if tail == "both" else []
    parts += ["a contrast"] if contrast else []
    return f" with {' and '.join(parts)}" if parts else ""


def rank_for(calibration: Calibration, target_fpr: float, tail: Tail = "low") -> int:
    """Return the rank k of the threshold for another false-positive rate or tail than that of the calibration.

    Raises:
        ConfigError: There are too few calibration rows for that rate, or rows that rank below all others use it up.
    """
    n, confidence, contrast = calibration.num_rows, calibration.confidence, calibration.contrast_rank is not None
    k = threshold_rank(n, target_fpr, confidence, tail, contrast=contrast)
    found = f"target_fpr {target_fpr:g}{_divided(tail, contrast)}"
    if k == 0:
        raise ConfigError(
            f"{found} needs at least {rows_needed(target_fpr, confidence, tail, contrast=contrast)} calibration rows, "
            f"the model has {n}; calibrate with more rows, or use a higher target_fpr"
        )
    if k <= calibration.num_novel:
        lowest = lowest_target(n, calibration.num_novel + 1, confidence, tail, contrast=contrast)
        raise ConfigError(
            f"{found} is too low: its threshold has rank {k}, and {calibration.num_novel} of the "
            f"{n} calibration rows rank below all others because of values that training never had. The lowest "
            f"possible target is {lowest:g}; use that or more, or calibrate for this target"
        )
    return k
