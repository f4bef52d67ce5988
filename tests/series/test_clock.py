"""Times as seconds, and the step between them."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest

from anomaly_vae.errors import InvalidInput
from anomaly_vae.series.clock import epoch_seconds, shown_step, shown_time, step_of, steps_between, to_seconds

NOON = datetime(2024, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "timestamp",
    [
        NOON,
        NOON.astimezone(timezone(timedelta(hours=5))),
        NOON.replace(tzinfo=None),
        "2024-01-31 12:00:00",
        "2024-01-31T13:00:00+01:00",
        "2024-01-31T12:00Z",
        pd.Timestamp("2024-01-31 12:00"),
        pd.Timestamp("2024-01-31 13:00", tz="Europe/Berlin"),
        np.datetime64("2024-01-31T12:00", "ns"),
        1706702400,
        1706702400.0,
        1706702400_000,
        1706702400_000_000,
        np.int64(1706702400_000_000_000),
    ],
)
def test_one_moment_in_every_form(timestamp):
    """A time without a zone counts as UTC: only differences matter."""
    assert to_seconds(timestamp) == NOON.timestamp() == 1706702400.0


def test_days_are_read_in_the_order_of_training():
    assert to_seconds("03/04/2024", "dmy") - to_seconds("03/04/2024", "mdy") == (
        date(2024, 4, 3) - date(2024, 3, 4)
    ) / timedelta(seconds=1)
    assert to_seconds(date(1970, 1, 2)) == 86_400.0


@pytest.mark.parametrize(
    "timestamp", [None, "soon", "", True, float("nan"), float("inf"), pd.NaT, np.datetime64("NaT"), [1.0], b"2024"]
)
def test_other_values_are_no_times(timestamp):
    with pytest.raises(InvalidInput, match="is no time; give a datetime") as caught:
        to_seconds(timestamp)
    assert caught.value.field == "timestamp"


def test_small_numbers_stay_as_they_are():
    np.testing.assert_array_equal(epoch_seconds(np.array([0.0, -3.5, 7e7, np.nan])), [0.0, -3.5, 7e7, np.nan])


@pytest.mark.parametrize(
    ("times", "step"),
    [
        ([0, 60, 120, 180], 60),
        ([0, 60, 120, 300, 360, 900], 60),
        ([0, 7], 7),
        ([0, 120, 180], 60),  # equally common: the smaller one
        ([5], None),
        ([], None),
        ([1.7e9, 1.7e9 + 0.1, 1.7e9 + 0.2, 1.7e9 + 0.3], 0.1),
    ],
)
def test_the_step_is_the_most_common_difference(times, step):
    assert step_of(np.array(times, dtype=float)) == step


def test_the_step_is_found_under_jitter():
    """No two differences are equal: their median is within the jitter of a mean of many."""
    rng = np.random.default_rng(1)
    times = 60.0 * np.arange(500) + rng.uniform(-9, 9, 500)
    assert step_of(np.delete(times, rng.choice(500, 100, replace=False))) == pytest.approx(60.0, abs=1.0)


def test_months_are_steps():
    months = np.array([date(2020 + m // 12, m % 12 + 1, 1).toordinal() * 86_400.0 for m in range(48)])
    step = step_of(months)
    assert [steps_between(a, b, step) for a, b in itertools.pairwise(months)] == [1] * 47
    assert steps_between(months[0], months[12], step) == 12


def test_times_and_steps_in_messages():
    assert shown_time(NOON.timestamp()) == "2024-01-31 12:00:00"
    assert shown_time(NOON.timestamp() + 0.25) == "2024-01-31 12:00:00.250000"
    assert shown_time(12.5) == "12.5"
    assert [shown_step(s) for s in (86_400.0, 7200.0, 300.0, 45.0, 0.1, 90.5)] == [
        "1 d",
        "2 h",
        "5 min",
        "45 s",
        "0.1 s",
        "90.5 s",
    ]
