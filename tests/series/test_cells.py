"""Columns of times and of names of series."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from anomaly_vae.columns.reading.frames import cells_of
from anomaly_vae.columns.reading.missing import Markers
from anomaly_vae.columns.reading.records import TimeReading
from anomaly_vae.errors import InvalidInput
from anomaly_vae.series.cells import names_of, seconds_of

NOON = 1706702400.0  # 2024-01-31 12:00:00 UTC
STAMPS = pd.Series(pd.to_datetime(["2024-01-31 12:00", None, "2024-01-31 12:01"]))


def read(column, reading=None, markers=()):
    return seconds_of("t", cells_of(column), reading, Markers(markers))


@pytest.mark.parametrize(
    "column",
    [
        STAMPS,
        STAMPS.dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin"),
        pl.from_pandas(STAMPS),
        pl.Series(["2024-01-31 12:00:00", None, "2024-01-31 12:01:00"]),
        pa.array(STAMPS, pa.timestamp("ms")),
        pd.Series(["2024-01-31T13:00:00+01:00", "", "2024-01-31T12:01:00Z"]),
        pd.Series(["31.01.2024 12:00", "na", "31.01.2024 12:01"]),
        np.array([NOON, np.nan, NOON + 60.0]),
        np.array([NOON, np.nan, NOON + 60.0]) * 1e3,
        pl.Series([int(NOON) * 10**9, None, (int(NOON) + 60) * 10**9]),
        pa.array([int(NOON) * 10**6, None, (int(NOON) + 60) * 10**6]),
        pa.array(["1706702400", None, "1706702460"]),
        pa.array(["1706702400000", "na", " 1706702460000 "]),
        pa.array(["1.7067024e9", "", "1706702460.0"]),
    ],
)
def test_times_in_every_form(column):
    np.testing.assert_array_equal(read(column), [NOON, np.nan, NOON + 60.0])


def test_clocks_that_are_set_back_have_every_moment_once():
    """02:30 is there twice in Berlin on 27 October 2024, one hour apart."""
    hours = pd.date_range("2024-10-26 22:00", periods=6, freq="h", tz="UTC").tz_convert("Europe/Berlin")
    np.testing.assert_array_equal(np.diff(read(pd.Series(hours))), np.full(5, 3600.0))
    texts = pd.Series([stamp.isoformat() for stamp in hours])
    np.testing.assert_array_equal(read(texts), read(pd.Series(hours)))


def test_texts_are_read_in_the_order_of_training():
    column = pd.Series(["03/04/2024", "04/04/2024"])
    assert np.diff(read(column, TimeReading(order="dmy")))[0] == 86_400.0
    assert np.diff(read(column, TimeReading(order="mdy")))[0] == 31 * 86_400.0
    with pytest.raises(InvalidInput, match=r"column 't' holds dates such as '03/04/2024', which may be day/month"):
        read(column)


def test_cells_that_are_no_times_have_none():
    """A few of them are reported later; a column of them is refused."""
    values = read(pd.Series(["2024-01-31", "soon", *["2024-02-01"] * 20]))
    assert np.flatnonzero(np.isnan(values)).tolist() == [1]
    with pytest.raises(InvalidInput, match="column 't' holds 'soon', expected dates and times"):
        read(pd.Series(["soon", "later"]))
    with pytest.raises(InvalidInput, match="'soon' is not a date or time"):
        read(pd.Series(["soon", "later"]), TimeReading())
    with pytest.raises(InvalidInput, match=r"column 't' holds bool"):
        read(np.array([True, False]))
    assert np.isnan(read(np.array([-1.0, 5.0]), markers=["-1"])).tolist() == [True, False]


def test_names_are_texts():
    def names(column, markers=()):
        return names_of("s", cells_of(column), Markers(markers))

    assert names(pd.Series(["a ", None, "b", "na"])) == ["a", None, "b", None]
    assert names(pd.Series(["x", "y"], dtype="category")) == ["x", "y"]
    assert names(np.array([2.0, np.nan, 1.5])) == ["2", None, "1.5"]
    assert names(np.array([2, 10**17])) == ["2", str(10**17)]
    assert names(np.array([True, False])) == ["1", "0"]
    assert names(pd.Series(["a", "-"]), ["-"]) == ["a", None]
    with pytest.raises(InvalidInput, match="column 's' holds datetime64"):
        names(STAMPS)
