"""Scores of whole panels."""

from __future__ import annotations

import math

import numpy as np
import pytest

from anomaly_vae.series import scoring
from anomaly_vae.series.grid import make_panel
from anomaly_vae.series.scoring import score_panel
from anomaly_vae.series.steps import LOWEST_SHARE
from anomaly_vae.series.windows import windows
from tests.support.windows import FakeScorer, hashed, window_schema

START = 1_700_000_000.0


def test_every_row_has_the_score_of_the_window_that_ends_there():
    """Two series, row by row in turn; the expected scores come from each series alone."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(60, 2))
    scorer = FakeScorer(window_schema(8, ("a", "b")))
    seen = []
    scores = score_panel(scorer.score_rows, make_panel(values, names=["one", "two"] * 30), 8, on_windows=seen.append)
    assert len(scores) == 60
    assert seen == [46]
    for start in (0, 1):
        own, expected = values[start::2], hashed(windows(values[start::2], 8))
        assert np.isnan(scores.log_px[start::2][:7]).all()
        np.testing.assert_array_equal(scores.log_px[start::2][7:], expected)
        covering = [expected[max(t - 7, 0) : t + 1] - 1.0 for t in range(len(own))]
        lowest = [np.sort(each)[: math.ceil(LOWEST_SHARE * len(each))].mean() for each in covering]
        np.testing.assert_allclose(scores.step_score[start::2], lowest, rtol=1e-12)
    assert set(scores.reason[:14]) == {"warm-up: the first 7 steps of a series have no full window"}


def test_the_rows_keep_the_order_of_the_input():
    rng = np.random.default_rng(1)
    values, times = rng.normal(size=(50, 1)), START + 60.0 * np.arange(50)
    order = rng.permutation(50)
    scorer = FakeScorer(window_schema(4))
    sorted_scores = score_panel(scorer.score_rows, make_panel(values, times), 4)
    scores = score_panel(scorer.score_rows, make_panel(values[order], times[order]), 4)
    for name in ("log_px", "step_score", "num_samples"):
        np.testing.assert_array_equal(getattr(scores, name), getattr(sorted_scores, name)[order])
    assert scores.reason == [sorted_scores.reason[i] for i in order]


def test_every_row_without_a_window_says_why():
    """Windows of 4 steps: a short gap (1 step), a long one, a row without a time, a step without values."""
    ticks = np.array([0, 1, 2, 4, 5, 20, 21, 22, 23, np.nan, 24, 25])
    values = np.arange(12.0)[:, None]
    values[10] = np.nan
    scores = score_panel(FakeScorer(window_schema(4)).score_rows, make_panel(values, START + 60.0 * ticks), 4)
    starts = [(reason or "").partition(":")[0] for reason in scores.reason]
    assert [starts[i] for i in np.flatnonzero(~scores.has_window)] == [
        *["warm-up"] * 3,
        *["gap"] * 3,
        "no time",
        "missing",
    ]
    assert scores.has_window.tolist() == [False] * 3 + [True] * 2 + [False] * 3 + [True, False, False, True]
    # The only window that covers the first step would end at a missing one.
    assert np.flatnonzero(np.isnan(scores.step_score)).tolist() == [0, 9]


def test_windows_are_scored_in_parts_with_the_same_bits(monkeypatch):
    rng = np.random.default_rng(2)
    values = rng.normal(size=(500, 1))
    panel = make_panel(values, names=[str(i // 120) for i in range(500)])
    scorer = FakeScorer(window_schema(10))
    whole = score_panel(scorer.score_rows, panel, 10)
    monkeypatch.setattr(scoring, "_CELLS_AT_ONCE", 77 * 10)
    seen = []
    parts = score_panel(scorer.score_rows, panel, 10, on_windows=seen.append)
    assert max(seen) == 77
    assert sum(seen) == np.count_nonzero(whole.has_window)
    for name in ("log_px", "step_score", "p_value"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))


@pytest.mark.parametrize("calibrated", [True, False])
def test_a_series_without_a_full_window_has_no_scores(calibrated):
    scorer = FakeScorer(window_schema(4), calibrated=calibrated)
    scores = score_panel(scorer.score_rows, make_panel(np.zeros((3, 1))), 4)
    assert not scores.has_window.any()
    assert (scores.p_value is None) == (not calibrated)
    assert len(score_panel(scorer.score_rows, make_panel(np.zeros((0, 1))), 4)) == 0
