"""Compare the scores of steps that are marked as anomalies with those of normal steps that the model has not seen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.series.grid import Panel
from anomaly_vae.series.steps import step_scores
from anomaly_vae.series.windows import all_windows, window_rows

__all__ = ["scores_of_steps"]

# Windows that are scored at once. Chosen, not measured.
_WINDOWS_AT_ONCE = 4096


def scores_of_steps(
    score_rows: Callable[[FloatArray], FloatArray], panel: Panel, length: int, wanted: NDArray[np.bool_]
) -> FloatArray:
    """Return the scores of some steps: as ``step_score`` of ``SeriesScores``, but only the windows that matter count.

    Args:
        score_rows: Returns the score of each window, a row of cells (N, length * channels), nats.
        panel: The series.
        length: Steps of a window.
        wanted: Which input rows to score, shape (N,).

    Returns:
        Nats, shape (N,); NaN for the other rows, and where no window covers the step.
    """
    found = np.full(len(wanted), np.nan)
    for segment in panel.segments(length):
        has_row = segment.rows >= 0
        is_wanted = has_row & wanted[segment.rows]
        places = all_windows([segment], length)
        before = np.concatenate([[0], np.cumsum(is_wanted)])
        places = places[before[places.end + 1] > before[places.end + 1 - length]]
        parts = [places[start : start + _WINDOWS_AT_ONCE] for start in range(0, len(places), _WINDOWS_AT_ONCE)]
        scores = [score_rows(window_rows([segment], part, length)) for part in parts]
        own = step_scores(np.concatenate([np.empty(0), *scores]), places.end, length, len(segment.rows))
        found[segment.rows[is_wanted]] = own[is_wanted]
    return found
