"""How good a model is on labelled rows: ranking, decisions, the promise about normal rows, parts of the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.assessment.bootstrap import Estimate, bootstrap, estimates
from anomaly_vae.assessment.curves import Curve, precision_recall_curve, roc_curve
from anomaly_vae.assessment.operating_points import OperatingPoint, RateOrReason, operating_point
from anomaly_vae.assessment.promise import Promise, Verdict, verdict_on
from anomaly_vae.assessment.ranking import Judged, LevelCounts, auroc, average_precision, count_levels
from anomaly_vae.assessment.reliability import Reliability, reliability
from anomaly_vae.assessment.slices import Slice, Slicing, assess_slices
from anomaly_vae.record import Record

__all__ = ["CONFIDENCE", "RESAMPLES", "Evaluation", "evaluate"]

# The probability with which an interval holds, and how often rows are drawn again. 1,000 draws give the ends of an
# interval of 95 % to about a tenth of its width.
CONFIDENCE, RESAMPLES = 0.95, 1000


class Evaluation(Record):
    """How good a model is on labelled rows.

    Attributes:
        rows: Rows with a label and a score.
        anomalies: Anomalies among them.
        confidence: With which probability each interval holds.
        resamples: Draws of the bootstrap.
        seed: Of the bootstrap.
        auroc: Area under the ROC curve: the probability that an anomaly ranks before a normal row. This and all that
            compares both classes is None if one has no row.
        average_precision: The area under precision by recall, as a sum over levels.
        roc: Recall (y) by false-positive rate (x).
        precision_recall: Precision (y) by recall (x).
        decision: What the threshold of the model flags.
        verdict: What its promise about normal rows is worth here.
        points: What thresholds for other false-positive rates flag.
        slices: Parts of the rows.
        reliability: Errors of the estimates of "all", "normal" and "anomalous" rows.
    """

    rows: int
    anomalies: int
    confidence: float
    resamples: int
    seed: int
    auroc: Estimate | None
    average_precision: Estimate | None
    roc: Curve | None
    precision_recall: Curve | None
    decision: OperatingPoint
    verdict: Verdict
    points: tuple[OperatingPoint, ...]
    slices: tuple[Slice, ...]
    reliability: dict[str, Reliability]


def evaluate(
    judged: Judged,
    labels: NDArray[np.bool_],
    promise: Promise,
    *,
    rates: Sequence[RateOrReason] = (),
    slicings: Sequence[Slicing] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    on_resamples: Callable[[int], None] | None = None,
) -> Evaluation:
    """Compare what a model says about rows with their labels.

    Rows are ranked as ``score --top`` does: those that rank below all others first, then by p-value, then by score.

    Args:
        judged: What the model says about N rows that it was not trained on.
        labels: Which of them are anomalies, shape (N,).
        promise: What the threshold of the model promises.
        rates: Further false-positive rates.
        slicings: Parts of the rows.
        resamples: Draws of the bootstrap for the intervals of AUROC and average precision.
        seed: The same seed gives the same intervals.
        confidence: With which probability each interval holds.
        on_resamples: Called with the number of draws just done.
    """
    levels = judged.levels
    counts = count_levels(levels, labels)
    anomalies = int(labels.sum())
    has_both = 0 < anomalies < len(labels)
    area = precision = None
    if has_both:
        resampled = bootstrap(counts, _figures, resamples, seed, on_resamples)
        area, precision = estimates(_figures(counts), resampled, confidence)
    own = RateOrReason(promise.target_fpr, promise)
    decision = operating_point(own, judged, labels, counts, confidence)
    masks = {"all": np.ones(len(labels), dtype=bool), "normal": ~labels, "anomalous": labels}
    return Evaluation(
        rows=len(labels),
        anomalies=anomalies,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
        auroc=area,
        average_precision=precision,
        roc=roc_curve(counts) if has_both else None,
        precision_recall=precision_recall_curve(counts) if has_both else None,
        decision=decision,
        verdict=verdict_on(promise, decision.false_positives),
        points=tuple(operating_point(each, judged, labels, counts, confidence) for each in rates),
        slices=tuple(assess_slices(slicings, levels, judged.flags, labels, promise.limit, confidence)),
        reliability={name: reliability(judged, mask) for name, mask in masks.items()},
    )


def _figures(counts: LevelCounts) -> FloatArray:
    return np.array([auroc(counts), average_precision(counts)])
