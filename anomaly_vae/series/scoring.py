"""Score every step of a panel, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.scores import Scores, join
from anomaly_vae.series.grid import Panel, Segment
from anomaly_vae.series.results import SeriesScores, place_scores
from anomaly_vae.series.steps import step_scores
from anomaly_vae.series.windows import Windows, all_windows, rows_at_ends, why_no_window, window_rows

__all__ = ["score_panel"]

# Cells of the windows that are in memory at once: 32 MiB. Chosen, not measured: with windows of 64 steps these are
# 65,536 windows, far more than are scored at a time.
_CELLS_AT_ONCE = 2**22


def score_panel(
    score_rows: Callable[[FloatArray], Scores],
    panel: Panel,
    length: int,
    *,
    on_windows: Callable[[int], None] | None = None,
) -> SeriesScores:
    """Score the windows that end at each step.

    Args:
        score_rows: Scores windows as rows of cells (N, length * C), such as ``Scorer.score_rows``.
        panel: The series.
        length: Steps of a window.
        on_windows: Called with the number of windows just scored.

    Returns:
        One entry per input row, in input order.
    """
    segments = panel.segments(length)
    places = all_windows(segments, length)
    at_once = max(1, _CELLS_AT_ONCE // (length * panel.values.shape[1]))
    parts = []
    for start in range(0, max(len(places), 1), at_once):  # one part at least: it shows whether there are p-values
        part = places[start : start + at_once]
        rows = window_rows(segments, part, length) if len(part) else np.empty((0, length * panel.values.shape[1]))
        parts.append(score_rows(rows))
        if on_windows is not None:
            on_windows(len(part))
    scores = join(parts)
    step_score = np.full(len(panel.values), np.nan)
    for segment, own in zip(segments, _by_segment(segments, places, scores.score, length), strict=True):
        has_row = segment.rows >= 0
        step_score[segment.rows[has_row]] = own[has_row]
    return place_scores(scores, rows_at_ends(segments, places), _reasons(panel, segments, places, length), step_score)


def _by_segment(segments: Sequence[Segment], places: Windows, score: FloatArray, length: int) -> list[FloatArray]:
    """Return the scores of the steps of each segment."""
    borders = np.searchsorted(places.segment, np.arange(len(segments) + 1))
    return [
        step_scores(score[first:last], places.end[first:last], length, len(segment.rows))
        for segment, first, last in zip(segments, borders[:-1], borders[1:], strict=True)
    ]


def _reasons(panel: Panel, segments: Sequence[Segment], places: Windows, length: int) -> list[str | None]:
    """Return for each input row why no window ends there; None for the others."""
    reasons: list[str | None] = [None] * len(panel.values)
    for row, why in panel.left_out.items():
        reasons[row] = why
    borders = np.searchsorted(places.segment, np.arange(len(segments) + 1))
    for s, segment in enumerate(segments):
        without = segment.rows >= 0
        without[places.end[borders[s] : borders[s + 1]]] = False
        for step in np.flatnonzero(without).tolist():
            is_present = not np.isnan(segment.values[step]).all()
            reasons[segment.rows[step]] = why_no_window(
                step + 1, length, last_is_present=is_present, after_gap=segment.after_gap
            )
    return reasons
