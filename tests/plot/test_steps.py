"""Rows as series to draw."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from anomaly_vae.errors import InvalidInput
from anomaly_vae.plot.steps import drawn_series, times_of
from tests.support.drawn_scores import drawn_scores

DAYS = np.array([19_723.0, 19_723.5])  # 2024-01-01 00:00 and 12:00


@pytest.mark.parametrize(
    "times",
    [
        np.array(["2024-01-01T00", "2024-01-01T12"], dtype="datetime64[h]"),
        [datetime(2024, 1, 1), datetime(2024, 1, 1, 12)],
        [datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, 12, tzinfo=UTC)],
        ["2024-01-01 00:00:00", "2024-01-01 12:00:00"],
        pd.Series(pd.to_datetime(["2024-01-01 00:00", "2024-01-01 12:00"])),
        pd.to_datetime(["2024-01-01 00:00", "2024-01-01 12:00"]).tz_localize("UTC"),
        [1_704_067_200, 1_704_110_400],
        np.array([1_704_067_200_000.0, 1_704_110_400_000.0]),
    ],
    ids=["datetime64", "datetime", "UTC", "text", "pandas", "pandas UTC", "seconds", "milliseconds"],
)
def test_all_forms_of_dates_give_the_same_days(times):
    x, is_date = times_of(times, 2)
    assert is_date
    np.testing.assert_allclose(x, DAYS, rtol=0, atol=1e-9)


def test_numbers_and_rows_stay_as_they_are():
    assert [each.tolist() if isinstance(each, np.ndarray) else each for each in times_of([5, 7.5], 2)] == [
        [5, 7.5],
        False,
    ]
    assert times_of(None, 3)[0].tolist() == [0, 1, 2]


def test_missing_times_are_nan():
    assert np.isnan(times_of(np.array(["2024-01-01", "NaT"], dtype="datetime64[s]"), 2)[0]).tolist() == [False, True]
    assert np.isnan(times_of([None, "2024-01-01"], 2)[0]).tolist() == [True, False]


def test_wrong_numbers_of_times_and_names_are_refused():
    with pytest.raises(InvalidInput, match=r"times: shape \(2,\), expected one for each of 3 rows"):
        times_of([1, 2], 3)
    with pytest.raises(InvalidInput, match="names: 2 names, expected one for each of 3 rows"):
        drawn_series(np.arange(3.0), ["a", "b"], drawn_scores(np.zeros(3), step_score=np.zeros(3)))
    with pytest.raises(InvalidInput, match="timestamp: 'soon' is no time"):
        times_of(["soon"], 1)


def test_the_most_anomalous_series_is_first_and_rows_are_in_the_order_of_time():
    """By p-value, then by score; rows without a time or a name are left out, series without a score are last."""
    x = np.array([3.0, 1.0, 2.0, np.nan, 0.0, 1.0, 0.0, 5.0])
    names = ["a", "a", "b", "b", "b", None, "c", "d"]
    score = np.array([-1.0, 5.0, -9.0, 0.0, 0.0, -99.0, 0.5, np.nan])
    found = drawn_series(x, names, drawn_scores(score, step_score=score))
    assert [(each.name, each.rows.tolist(), each.x.tolist()) for each in found] == [
        ("b", [4, 2], [0, 2]),
        ("a", [1, 0], [1, 3]),
        ("c", [6], [0]),
        ("d", [7], [5]),
    ]
    assert drawn_series(x, None, drawn_scores(score, step_score=score))[0].rows.tolist() == [4, 6, 1, 5, 2, 0, 7]
