"""The last steps of a live series, and the values that are pushed."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from anomaly_vae.columns.shapes import SeriesShape
from anomaly_vae.errors import InvalidInput
from anomaly_vae.series.tail import Tail, step_values

SHAPE = SeriesShape(length=8, channels=("x",), step_seconds=60.0)


def fill(*times):
    tail = Tail(SHAPE)
    for i, time in enumerate(times):
        tail.take(tail.pushed(None if time is None else 60.0 * time, np.array([float(i)]), SHAPE, None))
    return tail


@pytest.mark.parametrize(
    ("times", "window", "filled", "after_gap"),
    [
        ((5,), [0], 1, False),
        ((5, 6, 7), [0, 1, 2], 3, False),
        ((5, 6, 9), [0, 1, None, None, 2], 5, False),
        ((5, 6, 10, 11), [2, 3], 2, True),
        ((0, 1, 2, 3, 4, 5, 6, 9), [2, 3, 4, 5, 6, None, None, 7], 8, False),
        ((None, None), [0, 1], 2, False),
    ],
)
def test_the_window_after_some_pushes(times, window, filled, after_gap):
    """Up to 2 missing steps of windows of 8 are inserted; a longer gap starts again."""
    tail = fill(*times)
    expected = [None] * (8 - len(window)) + window
    assert [None if np.isnan(v) else v for v in tail.window[:, 0]] == expected
    assert (tail.filled, tail.after_gap) == (filled, after_gap)


@pytest.mark.parametrize(
    ("seconds", "message"),
    [
        (300.0, "timestamp: 300 comes less than a step after the last time of series 'a', 300"),
        (240.0, "240 comes less than a step after"),
        (325.0, "with a step of 60 s"),
        (None, "the steps of series 'a' before had times, this one has no time"),
    ],
)
def test_time_goes_forward(seconds, message):
    tail = fill(4, 5)
    before = tail.window
    with pytest.raises(InvalidInput, match=message):
        tail.pushed(seconds, np.array([9.0]), SHAPE, "a")
    assert tail.window is before
    assert (tail.filled, tail.last) == (2, 300.0)


def test_times_cannot_start_later():
    with pytest.raises(InvalidInput, match="before had no times, this one has a time"):
        fill(None).pushed(60.0, np.array([9.0]), SHAPE, None)


NAMES = ("a", "b")


@pytest.mark.parametrize(
    "values",
    [
        {"b": 2, "a": 1.0, "c": "ignored"},
        [1, 2.0],
        (np.float32(1), Decimal(2)),
        np.array([1, 2]),
        pd.Series({"b": 2.0, "a": True}),
    ],
)
def test_values_in_every_form(values):
    np.testing.assert_array_equal(step_values(values, NAMES), [1.0, 2.0])


def test_missing_values():
    assert np.isnan(step_values([None, pd.NA], NAMES)).all()
    assert np.isnan(step_values({"a": float("nan"), "b": pd.NaT}, NAMES)).all()
    assert step_values(3, ("a",)).tolist() == step_values(np.float64(3), ("a",)).tolist() == [3.0]


@pytest.mark.parametrize(
    ("values", "field", "message"),
    [
        ({"a": 1.0}, "b", "channel 'b' is missing; give all of 'a', 'b'"),
        ([1.0], "values", "got 1 values, expected 2: 'a', 'b'"),
        (1.0, "values", "got 1 values, expected 2"),
        ("1.0", "values", "got 1 values, expected 2"),
        ([1.0, "2"], "b", "channel 'b' is '2', expected a finite number"),
        ([float("inf"), 1.0], "a", "channel 'a' is inf"),
        ([1.0, 10**400], "b", "expected a finite number"),
        ([1.0, [2.0]], "b", "expected a finite number"),
        ([1.0, 2j], "b", "expected a finite number"),
    ],
)
def test_other_values_are_refused(values, field, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        step_values(values, NAMES)
    assert caught.value.field == field
