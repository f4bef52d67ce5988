"""The score of a step."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_vae.series import steps
from anomaly_vae.series.steps import LOWEST_SHARE, step_scores


def test_the_mean_of_the_windows_that_cover_a_step():
    """Windows of 3 steps in 5: the first step is covered once, the middle one by all."""
    windows = np.array([3.0, 6.0, -3.0]), np.array([2, 3, 4])
    np.testing.assert_array_equal(step_scores(*windows, 3, 5, share=1.0), [3.0, 4.5, 2.0, 1.5, -3.0])
    np.testing.assert_array_equal(step_scores(*windows, 3, 5, share=0.5), [3.0, 3.0, 0.0, -3.0, -3.0])
    np.testing.assert_array_equal(step_scores(*windows, 3, 5, share=0.01), [3.0, 3.0, -3.0, -3.0, -3.0])


def test_no_step_and_no_window():
    assert step_scores(np.empty(0), np.empty(0, dtype=np.intp), 4, 0).tolist() == []


def test_windows_without_a_score_are_left_out():
    scores = step_scores(np.array([1.0, np.nan]), np.array([1, 4]), 2, 6)
    np.testing.assert_array_equal(scores, [1.0, 1.0, np.nan, np.nan, np.nan, np.nan])
    assert np.isnan(step_scores(np.empty(0), np.empty(0, dtype=np.intp), 4, 3)).all()


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6) | st.none(), max_size=40), st.integers(1, 9), st.sampled_from([0.25, 0.5, 1.0]))
def test_it_equals_a_loop_over_the_steps(scores, length, share):
    values = np.array([np.nan if s is None else s for s in scores], dtype=float)
    ends = np.arange(len(values)) + length - 1
    num_steps = len(values) + length - 1
    found = step_scores(values, ends.astype(np.intp), length, num_steps, share)
    for t in range(num_steps):
        around = values[(ends >= t) & (ends < t + length)]
        around = np.sort(around[~np.isnan(around)])[: math.ceil(share * np.count_nonzero(~np.isnan(around)))]
        expected = sum(around.tolist()) / len(around) if len(around) else np.nan  # from the lowest one on
        np.testing.assert_array_equal(found[t], expected)


def test_steps_far_away_change_no_bit():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=3000) * 10.0 ** rng.integers(-8, 8, 3000)
    whole = step_scores(scores, np.arange(3000) + 31, 32, 3031)
    part = step_scores(scores[1000:1100], np.arange(100) + 31, 32, 131)
    np.testing.assert_array_equal(part[31:100], whole[1031:1100])


def test_parts_change_no_bit(monkeypatch):
    scores = np.random.default_rng(0).normal(size=500)
    whole = step_scores(scores, np.arange(500) + 15, 16, 515, LOWEST_SHARE)
    monkeypatch.setattr(steps, "_SCORES_AT_ONCE", 7 * 16)
    np.testing.assert_array_equal(step_scores(scores, np.arange(500) + 15, 16, 515), whole)
