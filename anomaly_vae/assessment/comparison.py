"""What changes if one model takes the place of another: decisions, order, calibration, fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.assessment.agreement import Agreement, agreement, spearman
from anomaly_vae.assessment.blame import ColumnDifference, column_differences
from anomaly_vae.assessment.promise import Promise, chance_of
from anomaly_vae.assessment.proportions import Proportion, proportion
from anomaly_vae.assessment.ranking import Judged
from anomaly_vae.assessment.spread import Spread, spread_of
from anomaly_vae.explained import Why
from anomaly_vae.record import Record

__all__ = ["ChangedRow", "Comparison", "FitDifference", "ModelOnRows", "compare"]

# Most rows whose decision changes that are listed. Chosen, not measured.
_SHOWN = 10

# Explains rows by their places among the N rows: one list of columns for each row, of model A and of model B.
Explain = Callable[[NDArray[np.intp]], tuple[list[list[Why]], list[list[Why]]]]


class ChangedRow(Record):
    """A row that only one of the models flags.

    Attributes:
        row: Its number in the input, from 1.
        name: The name of an image; None for a row of a table.
        p_value_a, p_value_b: The p-values.
        score_a, score_b: The scores, nats.
        flagged_by: "A" or "B".
        why: The columns whose surprise differs most between the models; empty if nothing explains rows.
    """

    row: int
    name: str | None
    p_value_a: float
    p_value_b: float
    score_a: float
    score_b: float
    flagged_by: str
    why: tuple[ColumnDifference, ...]


class ModelOnRows(Record):
    """How one of the models fits these rows.

    Attributes:
        promise: What its threshold promises for normal rows.
        flagged: The share of the rows that is flagged.
        above_promise: Whether the interval of that share lies above the promise. Then some rows are anomalies, normal
            rows have changed, or the calibration set was unlucky.
        chance: Probability that rows like the calibration rows would have so many flags or more.
        spread: How its p-values lie between 0 and 1.
    """

    promise: Promise
    flagged: Proportion
    above_promise: bool
    chance: float
    spread: Spread


class FitDifference(Record):
    """How much more likely rows are for model B than for model A.

    Attributes:
        rows: Rows that are compared: those without a value that is new to either model.
        mean: Mean of log p_B(x) - log p_A(x), nats a row; positive if B fits better.
        std_error: Its standard error over rows; None for a single row.
    """

    rows: int
    mean: float
    std_error: float | None


class Comparison(Record):
    """Two models, A and B, on the same rows.

    Attributes:
        rows: Rows that both models scored.
        confidence: With which probability each interval holds.
        agreement: Their flags.
        spearman_order: Rank correlation of the rows in the order of anomaly: p-value, then score.
        spearman_p_value: Rank correlation of the p-values. Both are None if a model has one value for all rows.
        changed_rows: The rows with another decision, those first whose p-values differ by the largest factor.
        a, b: How each model fits the rows.
        fit: The difference of log p(x); None if the models have different columns.
        no_fit: Why there is none; None if there is one.
    """

    rows: int
    confidence: float
    agreement: Agreement
    spearman_order: float | None
    spearman_p_value: float | None
    changed_rows: tuple[ChangedRow, ...]
    a: ModelOnRows
    b: ModelOnRows
    fit: FitDifference | None
    no_fit: str | None


def compare(
    judged: tuple[Judged, Judged],
    promises: tuple[Promise, Promise],
    numbers: NDArray[np.int64],
    *,
    no_fit: str | None = None,
    names: Sequence[str] | None = None,
    explain: Explain | None = None,
    shown: int = _SHOWN,
    confidence: float = 0.95,
) -> Comparison:
    """Compare what two models say about the same N rows.

    Args:
        judged: What model A and model B say.
        promises: What their thresholds promise.
        numbers: The numbers of the rows in the input, from 1, shape (N,).
        no_fit: Why log p(x) of the models cannot be compared; None if their columns are the same.
        names: The names of the rows, N, as images have; None if they have none.
        explain: Explains rows by both models; None for a comparison without reasons.
        shown: Most rows with another decision that are listed.
        confidence: With which probability each interval holds.

    Raises:
        ValueError: There are no rows.
    """
    a, b = judged
    flags = agreement(a.flags, b.flags, confidence)
    levels = [each.levels.astype(np.float64) for each in judged]
    on_rows = [_on_rows(each, promise, confidence) for each, promise in zip(judged, promises, strict=True)]
    return Comparison(
        rows=len(numbers),
        confidence=confidence,
        agreement=flags,
        spearman_order=spearman(levels[0], levels[1]),
        spearman_p_value=spearman(a.p_value, b.p_value),
        changed_rows=_changed_rows(a, b, numbers, names, explain, shown),
        a=on_rows[0],
        b=on_rows[1],
        fit=None if no_fit else _fit_difference(a, b),
        no_fit=no_fit,
    )


def _on_rows(judged: Judged, promise: Promise, confidence: float) -> ModelOnRows:
    flagged = proportion(int(judged.flags.sum()), len(judged.flags), confidence)
    if flagged is None:
        raise ValueError("there are no rows to compare")
    has_contrast = judged.scores.contrast is not None
    return ModelOnRows(
        promise=promise,
        flagged=flagged,
        above_promise=flagged.low > promise.limit,
        chance=chance_of(promise, flagged),
        spread=spread_of(judged.p_value, promise.calibration_rows, only_small=has_contrast),
    )


def _changed_rows(
    a: Judged,
    b: Judged,
    numbers: NDArray[np.int64],
    names: Sequence[str] | None,
    explain: Explain | None,
    shown: int,
) -> tuple[ChangedRow, ...]:
    changed = np.flatnonzero(a.flags != b.flags)
    factor = np.abs(np.log(a.p_value[changed]) - np.log(b.p_value[changed]))
    chosen = changed[np.argsort(-factor, kind="stable")[:shown]]
    reasons = _reasons(explain, chosen)
    return tuple(
        ChangedRow(
            row=int(numbers[i]),
            name=None if names is None else names[i],
            p_value_a=float(a.p_value[i]),
            p_value_b=float(b.p_value[i]),
            score_a=float(a.scores.score[i]),
            score_b=float(b.scores.score[i]),
            flagged_by="A" if a.flags[i] else "B",
            why=why,
        )
        for i, why in zip(chosen.tolist(), reasons, strict=True)
    )


def _reasons(explain: Explain | None, chosen: NDArray[np.intp]) -> list[tuple[ColumnDifference, ...]]:
    if explain is None or not len(chosen):
        return [()] * len(chosen)
    return [column_differences(of_a, of_b) for of_a, of_b in zip(*explain(chosen), strict=True)]


def _fit_difference(a: Judged, b: Judged) -> FitDifference | None:
    usable = ~(a.ranks_lowest | b.ranks_lowest)
    difference: FloatArray = (b.scores.log_px - a.scores.log_px)[usable]
    n = len(difference)
    if not n:
        return None
    error = float(difference.std(ddof=1)) / math.sqrt(n) if n > 1 else None
    return FitDifference(rows=n, mean=float(difference.mean()), std_error=error)
