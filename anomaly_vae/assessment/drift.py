"""Are new rows still like the calibration rows? The verdict of all tests together."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.assessment.martingale import ScoreWatch
from anomaly_vae.assessment.shifts import ColumnShift, NewRows, column_shifts
from anomaly_vae.assessment.uniformity import ScoreShift, score_shift
from anomaly_vae.record import Tail

__all__ = ["Drift", "DriftWatch", "OrderShift"]


@dataclass(frozen=True, kw_only=True)
class OrderShift:
    """The scores in the order of the rows: see :class:`anomaly_vae.assessment.martingale.ScoreWatch`.

    Attributes:
        log_p_value: Minus the log of the highest value of the martingale, nats.
        log_martingale: Its log after the last row, nats.
        first_row: The row, counted from 1 among the scored ones, at which it was high enough for the verdict; or None.
    """

    log_p_value: float
    log_martingale: float
    first_row: int | None


@dataclass(frozen=True, kw_only=True)
class Drift:
    """The comparison of new rows with calibration rows.

    Attributes:
        num_rows, num_calibration: How many have scores.
        num_parts: The number of parts whose p-values are combined.
        alpha: The probability of the verdict "drift" while nothing has changed is at most this.
        log_p_value: Of all tests together, nats: the smallest one times their number.
        drifted: The verdict: whether the p-value is at most alpha.
        scores: All scores at once.
        order: The scores one after the other.
        contrast: All contrasts at once; None for a model without a contrast.
        columns: The columns, those that changed most first; empty for series and images.
        reference: What the columns were compared with: "calibration rows", "samples of the model" (then they have no
            p-values, and do not count for the verdict), or None without columns.
    """

    num_rows: int
    num_calibration: int
    num_parts: int
    alpha: float
    log_p_value: float
    drifted: bool
    scores: ScoreShift
    order: OrderShift
    contrast: ScoreShift | None
    columns: tuple[ColumnShift, ...]
    reference: str | None


class DriftWatch:
    """Collects the scores and the cells of new rows, part by part."""

    def __init__(
        self,
        calibration: FloatArray,
        num_novel: int,
        *,
        tail: Tail = "low",
        alpha: float = 0.01,
        only_low: bool = False,
        contrast: FloatArray | None = None,
        columns: NewRows | None = None,
        has_counts: bool = True,
    ) -> None:
        """Start before the first row.

        Args:
            calibration, num_novel, tail, only_low: As for :func:`anomaly_vae.assessment.uniformity.score_shift`.
            alpha: The largest probability of a false verdict.
            contrast: The sorted contrasts of the calibration rows, nats, (n,); None for a model without a contrast.
            columns: Counts the cells; None to compare scores only.
            has_counts: Whether ``columns`` compares with calibration rows, not with samples of the model.
        """
        self._calibration, self._num_novel, self._tail, self._only_low = calibration, num_novel, tail, only_low
        self._columns, self._has_counts = columns, has_counts
        self._contrast, self._alpha = contrast, alpha
        self._num_parts = 2 + (columns is not None and has_counts) + (contrast is not None)
        each = alpha / self._num_parts
        self._watch = ScoreWatch(calibration, num_novel, only_low=only_low, alpha=each)
        self._scores: list[FloatArray] = []
        self._contrasts: list[FloatArray] = []

    def add(self, scores: FloatArray, rows: FloatArray | None = None, contrast: FloatArray | None = None) -> None:
        """Add rows in their order.

        Args:
            scores: Nats, (N,); minus infinity for rows that rank below all others.
            rows: Cells, (M, D), if columns are compared; M may be larger, as rows without any value have no score.
            contrast: Contrasts, nats, (N,), if the model has one.
        """
        self._scores.append(scores)
        self._watch.add(scores)
        if self._columns is not None and rows is not None:
            self._columns.add(rows)
        if contrast is not None:
            self._contrasts.append(contrast)

    def result(self) -> Drift:
        """Return the comparison of all rows so far."""
        scores = np.concatenate([np.empty(0), *self._scores])
        shift = score_shift(self._calibration, self._num_novel, scores, self._tail, only_low=self._only_low)
        of_contrast = None
        if self._contrast is not None:
            of_contrast = score_shift(self._contrast, 0, np.concatenate([np.empty(0), *self._contrasts]))
        watch = self._watch
        order = OrderShift(
            log_p_value=-watch.log_highest, log_martingale=watch.log_martingale, first_row=watch.first_row
        )
        found = [] if self._columns is None else self._columns.shifts()
        each = self._alpha / self._num_parts
        columns = column_shifts(found, each, has_counts=self._has_counts)
        parts = [shift.log_p_value, order.log_p_value]
        parts += [] if of_contrast is None else [of_contrast.log_p_value]
        parts += [column.log_p_adjusted for column in columns if column.log_p_adjusted is not None]
        log_p = min(min(parts) + math.log(self._num_parts), 0.0)
        return Drift(
            num_rows=len(scores),
            num_calibration=len(self._calibration) + self._num_novel,
            num_parts=self._num_parts,
            alpha=self._alpha,
            log_p_value=log_p,
            drifted=log_p <= math.log(self._alpha),
            scores=shift,
            order=order,
            contrast=of_contrast,
            columns=tuple(columns),
            reference=None if self._columns is None else _REFERENCES[self._has_counts],
        )


_REFERENCES = {True: "calibration rows", False: "samples of the model"}
