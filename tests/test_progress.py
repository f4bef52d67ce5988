"""When a plain line is due, and how much time is left, by a clock of our own."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.progress import Pace, TimeLeft, spoken


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def lines(duration, total=1.0, steps=10_000):
    """The seconds at which a job of this duration prints a line."""
    clock = Clock()
    pace, printed = Pace(clock), []
    for done in np.arange(1, steps + 1) / steps:
        clock.now = 1000.0 + duration * done
        if pace.is_due(done, total):
            printed.append(clock.now - 1000.0)
    return printed


def test_a_short_job_prints_no_line_and_a_longer_one_its_first_after_30_seconds():
    assert lines(29.9) == []
    assert lines(50.0) == pytest.approx([30.0], abs=0.1)


def test_a_line_comes_at_each_quarter_but_at_most_every_30_seconds():
    assert lines(400.0) == pytest.approx([30.0, 100.0, 200.0, 300.0], abs=0.1)
    assert lines(100.0) == pytest.approx([30.0, 60.0, 90.0], abs=0.1)


def test_a_long_job_prints_a_line_every_5_minutes_and_at_each_quarter():
    printed = lines(3600.0)
    gaps = np.diff([0.0, *printed])
    assert gaps.min() >= 30.0
    assert gaps.max() <= 301.0
    assert {900, 1800, 2700} <= {round(second) for second in printed}
    assert len(printed) <= 16


def test_without_a_total_a_line_comes_every_5_minutes():
    assert lines(1000.0, total=None) == pytest.approx([30.0, 330.0, 630.0, 930.0], abs=0.5)


def test_the_time_left_is_right_from_the_first_batch_on_and_counts_down():
    clock = Clock()
    left = TimeLeft(clock)
    assert left.seconds() is None
    clock.now += 2.0
    left.update(0.0, 100.0)
    assert left.seconds() is None
    left.update(10.0, 100.0)
    assert left.seconds() == pytest.approx(18.0)
    clock.now += 1.5
    assert left.seconds() == pytest.approx(16.5)
    clock.now += 100.0
    assert left.seconds() == 0.0


def test_the_cost_of_the_start_counts_only_as_long_as_there_is_nothing_else():
    clock = Clock()
    left = TimeLeft(clock)
    clock.now += 10.0
    left.update(1.0, 100.0)
    assert left.seconds() == pytest.approx(990.0)
    for done in (2.0, 3.0):
        clock.now += 1.0
        left.update(done, 100.0)
    assert left.seconds() == pytest.approx(97.0)


def test_an_unknown_total_has_no_time_left():
    clock = Clock()
    left = TimeLeft(clock)
    clock.now += 1.0
    left.update(10.0, None)
    assert left.seconds() is None


def test_runs_of_slow_rows_hardly_move_the_estimate():
    """Every tenth batch is ten times as slow, as anomalies are; the mean is what counts."""
    clock = Clock()
    left, costs = TimeLeft(clock), np.where(np.arange(1000) % 10 == 9, 1.0, 0.1)
    errors = []
    for done, cost in enumerate(costs, start=1):
        clock.now += cost
        left.update(done, 1000)
        truth = costs[done:].sum()
        if 100 <= done < 900:
            errors.append(left.seconds() / truth - 1.0)
    assert np.abs(errors).max() < 0.15


def test_the_estimate_follows_a_machine_that_slows_down():
    """The window is half of the run: a machine that has been slow for that long is taken as it is now."""
    clock = Clock()
    left = TimeLeft(clock)
    for done in range(1, 601):
        clock.now += 1.0 if done <= 300 else 3.0
        left.update(done, 1000)
    assert left.seconds() == pytest.approx(400 * 3.0, rel=0.05)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "about 1 s"), (41.4, "about 41 s"), (59.9, "about 60 s"), (61, "about 1 min"), (3599, "about 1 h 0 min")],
)
def test_times_are_spoken(seconds, text):
    assert spoken(seconds) == text


def test_the_speed_is_the_work_of_a_second():
    clock = Clock()
    left = TimeLeft(clock)
    assert left.per_second() is None
    for clock.now in (1_002.0, 1_004.0):
        left.update(10.0 * (clock.now - 1_000.0), None)
    assert left.per_second() == pytest.approx(10.0)
