"""What a threshold finds: false-positive rate, recall and precision, at the rates that a user may choose."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.assessment.promise import Promise
from anomaly_vae.assessment.proportions import Proportion, proportion
from anomaly_vae.assessment.ranking import Judged, LevelCounts, recall_at
from anomaly_vae.record import Record

__all__ = ["OperatingPoint", "RateOrReason", "operating_point"]


class RateOrReason(NamedTuple):
    """A false-positive rate that the user asks for.

    Attributes:
        target_fpr: The rate.
        promise: What its threshold promises; None if there is none.
        reason: Why there is none; None otherwise.
    """

    target_fpr: float
    promise: Promise | None
    reason: str | None = None


class OperatingPoint(Record):
    """What is flagged at one false-positive rate.

    Attributes:
        target_fpr: The requested rate.
        promise: What its threshold promises; None if the calibration rows are too few for it.
        reason: Why there is no threshold; None otherwise.
        false_positives: Share of normal rows that is flagged. This and the next two are None if they have no rows.
        recall: Share of anomalies that is flagged.
        precision: Share of flagged rows that are anomalies. It depends on how many of these rows are.
        recall_on_curve: The recall where the ROC curve of these rows reaches ``target_fpr``, whatever was promised:
            what a threshold that is chosen on these rows would find. None without rows of both classes.
    """

    target_fpr: float
    promise: Promise | None
    reason: str | None
    false_positives: Proportion | None
    recall: Proportion | None
    precision: Proportion | None
    recall_on_curve: float | None


def operating_point(
    wanted: RateOrReason, judged: Judged, labels: NDArray[np.bool_], counts: LevelCounts, confidence: float
) -> OperatingPoint:
    """Return what the calibrated threshold for a false-positive rate flags.

    Args:
        wanted: The rate.
        judged: What the model says about N rows.
        labels: Which of them are anomalies, shape (N,).
        counts: The rows by level.
        confidence: That of the intervals.
    """
    normal, anomalous = int(counts.normal.sum()), int(counts.anomalous.sum())
    on_curve = float(recall_at(counts, np.array([wanted.target_fpr]))[0]) if normal and anomalous else None
    shares: list[Proportion | None] = [None, None, None]
    if wanted.promise is not None:
        # A row is flagged exactly if its p-value is at most the rate of the threshold's rank.
        flags = judged.p_value <= wanted.promise.effective_fpr
        hits, false_alarms = int((flags & labels).sum()), int((flags & ~labels).sum())
        pairs = ((false_alarms, normal), (hits, anomalous), (hits, hits + false_alarms))
        shares = [proportion(count, total, confidence) for count, total in pairs]
    return OperatingPoint(
        target_fpr=wanted.target_fpr,
        promise=wanted.promise,
        reason=wanted.reason,
        false_positives=shares[0],
        recall=shares[1],
        precision=shares[2],
        recall_on_curve=on_curve,
    )
