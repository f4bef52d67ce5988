"""No peak, no value beside a gap and no flag is lost."""

import numpy as np
import pytest

from anomaly_vae.plot.envelope import envelope, line_of, median_step, spans_of


def test_a_short_series_is_drawn_as_it_is_without_missing_values():
    y = np.array([1.0, np.nan, 3.0])
    assert envelope(np.arange(3.0), y, 0, 2, parts=10).tolist() == [0, 2]


def test_the_extremes_of_every_part_are_kept():
    """Also those of a few steps in a million, in the part where they are."""
    rng = np.random.default_rng(0)
    x, y = np.arange(100_000.0), rng.normal(size=100_000)
    y[54_321], y[54_322] = 99.0, -98.0
    kept = envelope(x, y, 0, 99_999, parts=100)
    assert {54_321, 54_322} <= set(kept.tolist())
    assert len(kept) <= 400
    for part in range(100):
        own = slice(part * 1000, part * 1000 + 1000)
        inside = kept[(kept >= own.start) & (kept < own.stop)]
        assert y[inside].min() == y[own].min()
        assert y[inside].max() == y[own].max()
    assert (kept[0], kept[-1]) == (0, 99_999)


def test_a_line_is_broken_at_gaps_of_times_and_of_values():
    """Not where a time is a quarter of a step late, and the next one as early."""
    x = np.array([0.0, 1.25, 1.75, 3.0, 4.0, 10.0, 11.0])
    y = np.array([1.0, 2.0, 3.0, np.nan, 5.0, 6.0, 7.0])
    line = line_of(x, y, 0, 11)
    pieces = [piece.tolist() for piece in np.split(line.y, np.flatnonzero(np.isnan(line.y)))]
    assert [[value for value in piece if value == value] for piece in pieces] == [[1, 2, 3], [5], [6, 7]]
    assert line.y[line.lone].tolist() == [5]


def test_a_gap_of_a_long_series_is_seen():
    x, y = np.arange(20_000.0), np.ones(20_000)
    y[7000:7500] = np.nan
    line = line_of(x, y, 0, 19_999, parts=100)
    assert np.isnan(line.y).sum() == 1
    assert 6999 <= line.x[np.flatnonzero(np.isnan(line.y))[0] - 1] < 7500
    y[::2] = np.nan  # gaps that are narrower than a pixel break nothing
    assert np.isnan(line_of(x, y, 0, 19_999, parts=100).y).sum() == 1


def test_a_span_reaches_half_a_step_around_its_steps():
    is_on = np.array([0, 1, 1, 0, 1], dtype=bool)
    assert spans_of(np.arange(5.0), is_on).tolist() == [[0.5, 2.5], [3.5, 4.5]]
    assert spans_of(np.arange(5.0), is_on, least_gap=1.0).tolist() == [[0.5, 4.5]]
    assert spans_of(np.array([0.0, 1, 2, 9, 10]), np.ones(5, dtype=bool)).tolist() == [[-0.5, 2.5], [8.5, 10.5]]
    assert spans_of(np.arange(5.0), np.zeros(5, dtype=bool)).shape == (0, 2)


@pytest.mark.parametrize("least_gap", [0.0, 50.0, 1e9])
def test_every_step_that_is_on_lies_in_a_span(least_gap):
    rng = np.random.default_rng(1)
    x = np.cumsum(rng.uniform(0.5, 3.0, size=5000))
    is_on = rng.random(5000) < 0.05
    spans = spans_of(x, is_on, least_gap)
    inside = ((x[:, None] >= spans[:, 0]) & (x[:, None] <= spans[:, 1])).any(axis=1)
    assert inside[is_on].all()
    assert (np.diff(spans.ravel()) >= 0).all()


def test_the_step_of_one_time_is_1():
    assert median_step(np.array([5.0])) == 1.0
    assert median_step(np.array([0.0, 2.0, 4.0, 20.0])) == 2.0
