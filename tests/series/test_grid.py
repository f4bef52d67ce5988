"""Rows to series of regular steps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_vae.errors import InvalidInput
from anomaly_vae.series.grid import NO_NAME, NO_TIME, SAME_STEP, make_panel, most_missing

START = 1_700_000_000.0


def column(n, start=0.0):
    return start + np.arange(float(n))[:, None]


def test_without_times_the_rows_are_the_steps():
    panel = make_panel(column(5))
    (segment,) = panel.segments(4)
    assert (panel.step_seconds, segment.name, segment.after_gap) == (None, None, False)
    np.testing.assert_array_equal(segment.values, column(5))
    np.testing.assert_array_equal(segment.rows, np.arange(5))


def test_missing_steps_are_inserted_up_to_a_quarter_of_a_window():
    """Windows of 16 steps: 4 missing steps are inserted, 5 start a new segment."""
    assert most_missing(16) == 4
    times = START + 60.0 * np.array([0, 1, 2, 7, 8, 9, 15, 16])
    panel = make_panel(column(8), times)
    first, second = panel.segments(16)
    assert panel.step_seconds == 60.0
    assert first.rows.tolist() == [0, 1, 2, -1, -1, -1, -1, 3, 4, 5]
    assert second.rows.tolist() == [6, 7]
    assert (first.after_gap, second.after_gap) == (False, True)
    np.testing.assert_array_equal(np.isnan(first.values[:, 0]), first.rows < 0)
    assert len(panel.segments(20)) == 1


def test_series_are_separate_and_sorted():
    times = START + 60.0 * np.array([2, 0, 1, 1, 0, 2])
    panel = make_panel(column(6), times, ["b", "a", "b", "a", "b", "a"])
    assert [segment.name for segment in panel.segments(8)] == ["b", "a"]
    assert [segment.rows.tolist() for segment in panel.segments(8)] == [[4, 2, 0], [1, 3, 5]]
    assert panel.notes == ("the rows of 1 of 2 series were not in the order of time: sorted",)


def test_rows_without_a_time_or_a_name_are_reported():
    times = START + 60.0 * np.array([0, np.nan, 1, 2, np.nan])
    panel = make_panel(column(5), times, ["a", "a", "a", None, "a"], numbers=np.arange(1, len(times) + 1))
    assert panel.left_out == {1: NO_TIME, 4: NO_TIME, 3: NO_NAME}
    assert panel.segments(8)[0].rows.tolist() == [0, 2]
    assert panel.notes == (
        "2 rows are left out, first row 2: no time: the timestamp is missing",
        "1 rows are left out, first row 4: no series: the name of the series is missing",
    )


def test_a_time_that_appears_twice_is_refused():
    times = START + 60.0 * np.array([0, 1, 2, 1])
    with pytest.raises(
        InvalidInput, match=r"rows 1 and 3 of series 'a' have the same time 2023-11-14 22:14:20; 1 such"
    ):
        make_panel(column(4), times, ["a"] * 4)
    with pytest.raises(InvalidInput, match=r"rows 2 and 4 have the same time .*name the column .*in UTC"):
        make_panel(column(4), times, numbers=np.arange(1, len(times) + 1))
    make_panel(column(4), times, ["a", "a", "a", "b"])  # of two series it is fine


def test_jitter_of_a_quarter_of_a_step_is_rounded_away():
    rng = np.random.default_rng(0)
    steps = np.flatnonzero(rng.random(400) < 0.9)
    times = START + 60.0 * steps + rng.uniform(-14.9, 14.9, len(steps))
    panel = make_panel(column(len(steps)), times, step_seconds=60.0)
    np.testing.assert_array_equal(panel.series[0].steps, steps - steps[0])
    assert panel.left_out == {}


def test_a_clock_that_drifts_loses_no_steps():
    """Steps of 60.3 s: after 200 rows a fixed grid would be a whole step behind."""
    panel = make_panel(column(1000), START + 60.3 * np.arange(1000), step_seconds=60.0)
    np.testing.assert_array_equal(panel.series[0].steps, np.arange(1000))


def test_times_without_a_step_are_refused():
    rng = np.random.default_rng(0)
    times = START + np.cumsum(rng.exponential(60.0, 200))
    with pytest.raises(InvalidInput, match=r"\d+% of the times are off the step of .*resample the rows") as caught:
        make_panel(column(200), times)
    assert caught.value.field == "timestamp"


def test_a_few_times_off_the_grid_are_rounded():
    """2 of 100 times are late by 0.4 steps."""
    times = START + 60.0 * np.arange(100)
    times[[30, 60]] += 24.0
    np.testing.assert_array_equal(make_panel(column(100), times).series[0].steps, np.arange(100))
    times[40:60] += 24.0 * (np.arange(20) % 2)
    with pytest.raises(InvalidInput, match=r"off the step of 1 min, first row \d+: .* comes .* after the time before"):
        make_panel(column(100), times)


def test_a_second_row_in_a_step_is_left_out():
    """The later steps keep their distance from the row that stays."""
    steps = np.array([*range(50), 49.3, *range(52, 100)])
    panel = make_panel(column(99), START + 60.0 * steps)
    assert panel.left_out == {50: SAME_STEP}
    assert panel.notes == ("1 rows are left out, first row 50: " + SAME_STEP,)
    np.testing.assert_array_equal(panel.series[0].steps, [*range(50), *range(52, 100)])


def test_two_rows_in_every_step_are_refused():
    """The rows are 12 s and 48 s apart: half of them would be left out."""
    times = START + np.sort(np.concatenate([60.0 * np.arange(40), 60.0 * np.arange(40) + 12.0]))
    with pytest.raises(InvalidInput, match="off the step of 1 min"):
        make_panel(column(80), times, step_seconds=60.0)


def test_all_series_have_one_step():
    times = START + np.concatenate([60.0 * np.arange(50), 60.0 * np.arange(50), 300.0 * np.arange(50)])
    names = ["a"] * 50 + ["b"] * 50 + ["c"] * 50
    with pytest.raises(InvalidInput, match=r"of series 'c' are 5 min apart, most series have a step of 1 min"):
        make_panel(column(150), times, names)
    with pytest.raises(InvalidInput, match=r"of series 'a' are 1 min apart, the model's windows have a step of 30 s"):
        make_panel(column(150), times, names, step_seconds=30.0)
    few = times[:103], names[:103]  # with 3 rows, series c may just have gaps
    assert make_panel(column(103), *few).series[2].steps.tolist() == [0, 5, 10]


def test_the_step_of_the_model_counts_where_the_rows_show_none():
    assert make_panel(column(1), np.array([START]), step_seconds=60.0).step_seconds == 60.0
    assert make_panel(column(1), np.array([START])).step_seconds is None
    assert make_panel(column(0), np.empty(0)).segments(4) == ()
    assert make_panel(column(2), np.full(2, np.nan)).left_out == {0: NO_TIME, 1: NO_TIME}


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", None]), st.integers(0, 300) | st.none()),
        unique_by=lambda row: row if row[1] is not None else object(),
        max_size=60,
    ),
    st.integers(2, 40),
)
def test_every_row_comes_back_once(rows, length):
    """Each row is at its own time in one segment, or left out; gaps within segments are short, others are long."""
    names = [name for name, _ in rows]
    ticks = np.array([np.nan if tick is None else tick for _, tick in rows], dtype=float)
    try:
        panel = make_panel(column(len(rows)), START + 60.0 * ticks, names, step_seconds=60.0)
    except InvalidInput as error:
        assert "the model's windows have a step of 1 min" in str(error)  # noqa: PT017 (hardly any neighbours)
        return
    segments = panel.segments(length)
    placed = np.concatenate([*(segment.rows[segment.rows >= 0] for segment in segments), []])
    assert sorted([*placed, *panel.left_out]) == list(range(len(rows)))
    last = {}
    for segment in segments:
        found = np.flatnonzero(segment.rows >= 0)
        own = segment.rows[found]
        np.testing.assert_array_equal(segment.values[found, 0], own)
        np.testing.assert_array_equal(ticks[own] - ticks[own[0]], found)
        assert {names[i] for i in own} == {segment.name}
        assert (np.diff(found) <= most_missing(length) + 1).all()
        assert segment.after_gap == (segment.name in last)
        assert not segment.after_gap or ticks[own[0]] - last[segment.name] > most_missing(length) + 1
        last[segment.name] = ticks[own[-1]]
