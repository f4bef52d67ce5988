"""Windows of segments, and their split into blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_vae.columns.shapes import SeriesShape, cell_names
from anomaly_vae.errors import InvalidInput
from anomaly_vae.series.grid import Segment
from anomaly_vae.series.windows import (
    all_windows,
    block_split,
    is_usable,
    rows_at_ends,
    usable_ends,
    why_no_window,
    window_rows,
    windows,
)


def segment(num_steps, num_channels=1, name=None, first=0.0):
    """Cells that count up from ``first``."""
    values = first + np.arange(float(num_steps * num_channels)).reshape(num_steps, num_channels)
    return Segment(name, values, np.arange(num_steps), after_gap=False)


def test_the_channel_changes_fastest():
    """As the names of the cells say: [length, channels] in C order."""
    values = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [4.0, 40.0]])
    np.testing.assert_array_equal(windows(values, 3), [[1, 10, 2, 20, 3, 30], [2, 20, 3, 30, 4, 40]])
    np.testing.assert_array_equal(windows(values, 2, stride=2), [[1, 10, 2, 20], [3, 30, 4, 40]])
    assert windows(values, 5).shape == (0, 10)
    names = cell_names(SeriesShape(length=3, channels=("a", "b")))
    assert dict(zip(names, windows(values, 3)[1], strict=True))["a[0]"] == 4.0


@settings(deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=5), st.integers(2, 9), st.integers(1, 4), st.integers(1, 3))
def test_windows_never_cross_segments(lengths, length, stride, channels):
    """Cells count up within a segment and start 1,000 higher in the next one: each row has differences of 1."""
    segments = [segment(n, channels, first=1000.0 * s) for s, n in enumerate(lengths)]
    places = all_windows(segments, length, stride)
    rows = window_rows(segments, places, length)
    assert rows.shape == (len(places), length * channels)
    assert (np.diff(rows, axis=1) == 1.0).all()
    np.testing.assert_array_equal(rows[:, -1], 1000.0 * places.segment + (places.end + 1) * channels - 1)
    np.testing.assert_array_equal(rows, np.concatenate([windows(s.values, length, stride) for s in segments]))
    shuffled = np.random.default_rng(0).permutation(len(places))
    np.testing.assert_array_equal(window_rows(segments, places[shuffled], length), rows[shuffled])


def test_a_window_needs_its_last_step_and_half_of_its_cells():
    nan = np.nan
    values = np.array([[1.0, 1.0], [nan, nan], [1.0, nan], [nan, 1.0], [nan, nan], [1.0, 1.0]])
    #  windows of 3 steps end at 2 (3 of 6 cells), 3 (2 of 6), 4 (last step missing), 5 (3 of 6)
    assert usable_ends(values, 3).tolist() == [False, False, True, False, False, True]
    assert usable_ends(values, 7).tolist() == [False] * 6


@settings(deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=2, max_size=2), max_size=20), st.integers(1, 6))
def test_one_window_is_judged_like_all(present, length):
    values = np.where(np.array(present, dtype=bool).reshape(-1, 2), 1.0, np.nan)
    expected = [t >= length - 1 and is_usable(values[t - length + 1 : t + 1]) for t in range(len(values))]
    assert usable_ends(values, length).tolist() == expected


def test_why_a_step_has_no_window():
    text = [
        why_no_window(n, 8, last_is_present=present, after_gap=gap)
        for n, present, gap in ((7, True, False), (7, True, True), (8, False, True), (8, True, True))
    ]
    assert [each.partition(":")[0] for each in text] == ["warm-up", "gap", "missing", "missing"]
    assert "first 7 steps" in text[0]
    assert text[2] != text[3]


LENGTHS = st.lists(st.integers(1, 400), min_size=1, max_size=6)


@settings(deadline=None)
@given(LENGTHS, st.integers(2, 12), st.integers(1, 4), st.integers(0, 5))
def test_calibration_windows_share_no_step_with_others(lengths, length, stride, seed):
    segments = [segment(n) for n in lengths]
    places = all_windows(segments, length, stride)
    try:
        split = block_split(segments, places, length, seed)
    except InvalidInput as error:
        assert max(lengths) < 12 * length, error  # noqa: PT017 (a property: enough steps are never refused)
        return
    used = []
    for part in (split.train, split.held_out, split.calibration):
        assert len(part) > 0
        assert (np.diff(part) > 0).all()
        chosen = places[part]
        used.append(
            {
                (s, t)
                for s, end in zip(chosen.segment.tolist(), chosen.end.tolist(), strict=True)
                for t in range(end - length + 1, end + 1)
            }
        )
    assert not used[0] & used[2]
    assert not used[1] & used[2]
    assert not set(split.train.tolist()) & set(split.held_out.tolist())


def test_the_shares_of_the_split():
    """Of long series, 70 % train and 20 % calibrate, in several blocks of each of two series; few windows are lost."""
    segments = [segment(6000), segment(6000)]
    places = all_windows(segments, 32)
    split = block_split(segments, places, 32, seed=3)
    total = len(places)
    assert len(split.train) / total == pytest.approx(0.7, abs=0.08)
    assert len(split.calibration) / total == pytest.approx(0.2, abs=0.05)
    assert len(split.held_out) / total == pytest.approx(0.1, abs=0.04)
    assert len(split.train) + len(split.held_out) + len(split.calibration) > 0.9 * total
    for s in range(2):
        ends = places.end[split.calibration][places.segment[split.calibration] == s]
        assert np.count_nonzero(np.diff(ends) > 1) >= 2
    again, other = block_split(segments, places, 32, seed=3), block_split(segments, places, 32, seed=4)
    np.testing.assert_array_equal(split.calibration, again.calibration)
    assert split.calibration.tolist() != other.calibration.tolist()


def test_short_series_are_refused_with_a_window_that_fits():
    segments = [segment(32)]
    with pytest.raises(InvalidInput, match=r"at least 34 steps .* has 32. Use a window of at most 9 steps"):
        block_split(segments, all_windows(segments, 10), 10, seed=0)
    for num_steps in (34, 59, 60):
        segments = [segment(num_steps)]
        block_split(segments, all_windows(segments, 10), 10, seed=0)
    with pytest.raises(InvalidInput, match="has 0"):
        block_split([], all_windows([], 10), 10, seed=0)


def test_without_blocks_the_last_steps_calibrate():
    """A series of 100 steps with windows of 10: the last 20 calibrate, and the 10 before are held out."""
    segments = [segment(100)]
    places = all_windows(segments, 10)
    split = block_split(segments, places, 10, seed=0)
    assert places.end[split.calibration].tolist() == list(range(89, 100))
    assert places.end[split.held_out].tolist() == list(range(70, 80))
    assert places.end[split.train].tolist() == list(range(9, 70))


def test_one_long_series_among_short_ones_is_divided():
    """By blocks alone, the long series could calibrate as a whole, and the short ones would train."""
    segments = [segment(200), *(segment(12) for _ in range(6))]
    places = all_windows(segments, 10)
    for seed in range(5):
        split = block_split(segments, places, 10, seed)
        for part in (split.train, split.held_out, split.calibration):
            assert (places.segment[part] == 0).any()


def test_many_short_series_are_blocks_of_their_own():
    segments = [segment(12) for _ in range(30)]
    places = all_windows(segments, 10)
    split = block_split(segments, places, 10, seed=0)
    assert [len(part) for part in (split.train, split.held_out, split.calibration)] == [63, 9, 18]


def test_a_part_without_windows_is_refused():
    """Only the first third has values."""
    values = np.full((90, 1), np.nan)
    values[:30] = 1.0
    segments = [Segment(None, values, np.arange(90), after_gap=False)]
    with pytest.raises(InvalidInput, match="at most half of the cells may be missing"):
        block_split(segments, all_windows(segments, 10), 10, seed=0)


def test_few_windows_are_set_aside_from_long_series():
    segments = [segment(300_000)]
    places = all_windows(segments, 4)
    split = block_split(segments, places, 4, seed=0)
    assert 10_000 < len(split.calibration) <= 20_000
    assert len(split.held_out) <= 20_000
    assert places.end[split.calibration].max() > 280_000


def test_a_window_ends_at_a_row_of_the_input():
    first, second = segment(5), segment(4)
    second = Segment(None, second.values, np.array([9, 7, 8, 6]), after_gap=False)
    places = all_windows([first, second], 3)
    assert rows_at_ends([first, second], places).tolist() == [2, 3, 4, 8, 6]
    assert rows_at_ends([], all_windows([], 3)).tolist() == []
