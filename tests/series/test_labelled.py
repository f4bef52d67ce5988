"""Rows that no window may cover."""

from __future__ import annotations

import numpy as np

from anomaly_vae.series.grid import make_panel
from anomaly_vae.series.labelled import without_rows
from anomaly_vae.series.windows import all_windows


def test_a_series_is_cut_at_the_rows_that_are_left_out():
    """Rows 3 and 4 of the series a are out. A step without a row stays a missing one: 7 is at step 8."""
    names = ["a"] * 9 + ["b"] * 4
    times = np.array([*range(7), *range(8, 10), *range(4)], dtype=np.float64)
    panel = make_panel(np.arange(13.0)[:, None], times, names)
    gone = np.isin(np.arange(13), (3, 4))
    found = without_rows(panel, gone)
    assert [(each.name, each.rows.tolist(), each.steps.tolist()) for each in found.series] == [
        ("a", [0, 1, 2], [0, 1, 2]),
        ("a", [5, 6, 7, 8], [5, 6, 8, 9]),
        ("b", [9, 10, 11, 12], [0, 1, 2, 3]),
    ]
    assert found.step_seconds == panel.step_seconds


def test_no_window_covers_a_row_that_is_left_out():
    rng = np.random.default_rng(0)
    panel = make_panel(np.arange(200.0)[:, None])
    gone = rng.random(200) < 0.05
    segments = without_rows(panel, gone).segments(4)
    places = all_windows(segments, 4)
    covered = {
        int(row)
        for s, end in zip(places.segment, places.end, strict=True)
        for row in segments[s].rows[end - 3 : end + 1]
    }
    assert covered.isdisjoint(np.flatnonzero(gone).tolist())
    runs = np.split(np.arange(200), np.flatnonzero(gone))
    expected = sum(max(len(run) - (i > 0) - 3, 0) for i, run in enumerate(runs))
    assert len(places) == expected


def test_rows_at_both_ends_leave_nothing_behind():
    panel = make_panel(np.arange(5.0)[:, None])
    found = without_rows(panel, np.array([True, False, False, False, True]))
    assert [each.rows.tolist() for each in found.series] == [[1, 2, 3]]
    assert without_rows(panel, np.ones(5, dtype=bool)).series == ()
