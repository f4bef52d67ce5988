"""The scores of series: one entry per input row, also for rows at which no window ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.scores import ScoreRow, Scores

__all__ = ["SeriesRow", "SeriesScores", "place_scores"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SeriesRow(ScoreRow):
    """The scores of one row, as plain Python values. The fields are those of ``SeriesScores``."""

    step_score: float


@dataclass(frozen=True, kw_only=True, repr=False)
class SeriesScores(Scores):
    """Scores of the rows of time series: those of the window that ends at the row, and one of the step itself.

    They are taken, counted and converted as ``Scores``. At the first steps of a series, after a long gap and where most
    cells are missing, no window ends: ``reason`` says so, numbers are NaN, ``reliable`` and ``is_anomaly`` are False
    and ``num_samples`` is 0. Tables from ``to_pandas``, ``to_arrow`` and ``to_polars`` then hold nulls in ``reliable``
    and ``is_anomaly``.

    Attributes:
        log_px: As in ``Scores``, of the window that ends at the row; so are the fields up to ``reason``.
        score: Threshold, p-value and flag use it, nats.
        elbo: Evidence lower bound, nats.
        std_error: Standard error of ``log_px``, nats.
        ess_ratio: Effective sample size divided by the number of samples.
        pareto_k: Tail index of the importance weights.
        reliable: Whether ``log_px`` and ``std_error`` can be trusted.
        p_value: Conformal p-value, in (0, 1]; None where ``Scores`` has None.
        is_anomaly: Whether the score is below the threshold; None where ``p_value`` is None.
        num_samples: Decoder evaluations used.
        reason: As in ``Scores``, or why no window ends at the row: it starts with "warm-up", "gap", "missing", "no
            time", "no series" or "same step".
        contrast: None: only models of images have one.
        model_version: The version that scored the rows; None unless a service did.
        bundle_digest: The digest of its bundle, likewise.
        step_score: The mean score of the lowest quarter of the windows that cover the step, nats: it also looks at
            later steps. NaN where no window covers it.
    """

    _row: ClassVar[type[Any]] = SeriesRow
    _shown: ClassVar[tuple[str, ...]] = ("log_px", "std_error", "p_value", "is_anomaly", "step_score", "reason")

    step_score: FloatArray

    @property
    def has_window(self) -> NDArray[np.bool_]:
        """Whether a window ends at the row, shape (N,)."""
        return np.asarray(~np.isnan(self.log_px))

    def _columns(self) -> dict[str, Any]:
        columns = super()._columns()
        if not self.has_window.all():
            for name in ("reliable", "is_anomaly"):
                if columns[name] is not None:
                    columns[name] = np.where(self.has_window, columns[name], np.array(None)).tolist()
        return columns


def place_scores(
    scores: Scores, rows: NDArray[np.intp], reasons: list[str | None], step_score: FloatArray
) -> SeriesScores:
    """Return the scores of windows at the rows where they end.

    Args:
        scores: Scores of windows, (M,).
        rows: The row at which each window ends, shape (M,).
        reasons: For each of the N rows why it has no window; those of rows with a window are not used.
        step_score: Shape (N,).
    """
    placed = dict[str, Any]()
    for name, values in scores.by_row().items():
        if name == "reason":
            placed[name] = list(reasons)
            for row, reason in zip(rows.tolist(), values, strict=True):
                placed[name][row] = reason
        elif values is None:
            placed[name] = None
        else:
            empty = np.nan if values.dtype.kind == "f" else 0
            placed[name] = np.full(len(reasons), empty, dtype=values.dtype)
            placed[name][rows] = values
    placed |= {"model_version": scores.model_version, "bundle_digest": scores.bundle_digest}
    return SeriesScores(**placed, step_score=step_score)
