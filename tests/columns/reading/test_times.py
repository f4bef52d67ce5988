"""Dates and times against Python's datetime, zoneinfo and pandas."""

from __future__ import annotations

import contextlib
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from anomaly_vae.columns.reading.records import PARTS, CellError, TimeReading
from anomaly_vae.columns.reading.times import (
    PERIODS,
    in_zone,
    is_zone_name,
    learnable_parts,
    parse_time,
    parts_of,
    time_format,
)
from anomaly_vae.errors import InvalidInput

EPOCH = datetime(1970, 1, 1)
MOMENTS = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59))
IN_UTC = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1))
ZONES = ["Europe/Oslo", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns", "UTC"]


def micros(moment):
    return (moment - EPOCH) // timedelta(microseconds=1)


@given(MOMENTS)
@example(datetime(1, 1, 1))
@example(datetime(9999, 12, 31, 23, 59, 59, 999999))
@example(datetime(1969, 12, 31, 23, 59, 59, 999999))
@example(datetime(2024, 2, 29))
def test_iso_texts_are_read_to_the_microsecond(moment):
    for text in (moment.isoformat(), moment.isoformat(" "), moment.isoformat().replace(".", ",")):
        assert parse_time(text, TimeReading()) == micros(moment)


@pytest.mark.parametrize(
    ("order", "style"),
    [
        ("ymd", "%Y-%m-%d %H:%M:%S"),
        ("ymd", "%Y/%m/%d %H:%M:%S"),
        ("ymd", "%Y.%m.%dT%H:%M:%SZ"),
        ("dmy", "%d.%m.%Y %H:%M:%S"),
        ("dmy", "%d/%m/%Y %I:%M:%S %p"),
        ("mdy", "%m/%d/%Y %I:%M:%S%p"),
        ("mdy", "%m-%d-%Y %H:%M:%S UTC"),
    ],
)
@given(moments=st.lists(st.datetimes(datetime(1000, 1, 1), datetime(9998, 1, 1)), min_size=1, max_size=20))
def test_a_column_of_dates_in_one_style_is_read_as_the_same_moments(order, style, moments):
    texts = [moment.strftime(style) for moment in moments]
    found = time_format(Counter(texts))
    if isinstance(found, str):
        assert "day/month or month/day" in found
        assert all(moment.day <= 12 for moment in moments)
        found = TimeReading(order=order, zone="UTC" if style.endswith(("Z", "UTC")) else None)
    same = all(moment.day == moment.month for moment in moments)
    assert found.order == order or same or "." in style
    assert found.zone == ("UTC" if style.endswith(("Z", "UTC")) else None)
    if found.order == order or same:
        assert [parse_time(text, found) for text in texts] == [micros(each.replace(microsecond=0)) for each in moments]


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1)), st.integers(-23 * 60 - 59, 23 * 60 + 59))
def test_offsets_are_those_of_datetime(moment, minutes):
    text = moment.replace(tzinfo=timezone(timedelta(minutes=minutes))).isoformat()
    in_utc = micros(moment - timedelta(minutes=minutes))
    assert parse_time(text, TimeReading(zone="UTC")) == in_utc
    (same,) = {time_format({text: 3}).zone}
    assert parse_time(text, TimeReading(zone=same)) == micros(moment)


@given(st.lists(IN_UTC, min_size=1, max_size=10), st.sampled_from(ZONES))
def test_the_wall_clock_of_a_zone_is_that_of_zoneinfo(moments, zone):
    wall = in_zone(np.array([micros(moment) for moment in moments]), zone)
    expected = [each.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None) for each in moments]
    assert wall.tolist() == [micros(each) for each in expected]


@pytest.mark.parametrize("zone", ZONES[:5])
@pytest.mark.parametrize("year", [1950, 1975, 2024])
def test_every_minute_around_a_change_of_the_clock_is_right(zone, year):
    """Offsets are looked up once for each quarter of an hour: changes lie between two of them, also in Lord Howe."""
    days = pd.date_range(f"{year}-01-01", f"{year}-12-31", freq="15min", tz="UTC")
    walls = days.tz_convert(zone).tz_localize(None).as_unit("us").asi8
    changed = np.flatnonzero(np.diff(walls) != 900_000_000)
    starts = days[np.concatenate([changed, [0, 5000]])]
    minutes = np.unique(
        np.concatenate([pd.date_range(start, periods=31, freq="min").as_unit("us").asi8 for start in starts])
    )
    expected = (
        pd.DatetimeIndex(minutes.astype("M8[us]"), tz="UTC").tz_convert(zone).tz_localize(None).as_unit("us").asi8
    )
    np.testing.assert_array_equal(in_zone(minutes, zone), expected)


@given(st.lists(st.datetimes(datetime(1700, 1, 1), datetime(2255, 1, 1)), min_size=1, max_size=20))
@example([datetime(1969, 12, 31, 23, 59, 59, 999999), datetime(1704, 2, 29)])
def test_parts_are_those_of_pandas(moments):
    series = pd.Series(np.array(moments, "M8[us]"))
    found = parts_of(np.array([micros(each) for each in moments], dtype=np.float64), PARTS)
    seconds = series.dt.hour * 3600 + series.dt.minute * 60 + series.dt.second + series.dt.microsecond / 1e6
    np.testing.assert_allclose(found[:, 0], seconds / 3600.0, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(found[:, 1], series.dt.day_of_week)
    np.testing.assert_array_equal(found[:, 2], series.dt.day)
    np.testing.assert_array_equal(found[:, 3], series.dt.day_of_year)
    np.testing.assert_allclose(found[:, 4], [micros(each) / 86_400e6 for each in moments], rtol=1e-15)
    for column, part in enumerate(PERIODS):
        assert (found[:, column] >= 0.0).all()
        assert (found[:, column] < PERIODS[part] + 1).all()


def test_parts_of_a_missing_time_are_missing_and_no_time_has_no_parts():
    assert np.isnan(parts_of(np.array([np.nan]), PARTS)).all()
    assert parts_of(np.array([np.nan, 0.0]), ()).shape == (2, 0)
    assert parts_of(np.array([]), PARTS).shape == (0, 5)
    assert in_zone(np.array([], dtype=np.int64), "Europe/Oslo").shape == (0,)


@pytest.mark.parametrize(
    "text",
    [
        "2024-13-01",
        "2023-02-29",
        "0000-01-01",
        "2024-01-01 24:00",
        "2024-01-01 12:60",
        "2024-01-01 12:00:60",
        "2024-01-01 13:00 PM",
        "2024-01-01 0:00 AM",
        "24-01-01",
        "2024-1",
        "2024-01/01",
        "2024-01-01 12",
        "2024-01-01T12:00+24:00",
        "12:00",
        "1/2/3/4",
        "20240101",
        "now",
        "",
    ],
)
def test_what_is_no_date_is_refused(text):
    with pytest.raises(ValueError, match=r"^(?!.*unexpected).*$"):
        parse_time(text, TimeReading(zone="UTC"))


@given(
    st.text(max_size=30), st.sampled_from(["ymd", "dmy", "mdy", "clock"]), st.sampled_from([None, "UTC", "Europe/Oslo"])
)
def test_any_text_is_a_time_or_a_value_error(text, order, zone):
    with contextlib.suppress(ValueError):
        assert isinstance(parse_time(text, TimeReading(order=order, zone=zone)), int)


@given(
    st.from_regex(
        r"[0-9]{1,4}[-/.][0-9]{1,2}[-/.][0-9]{1,4}[T ][0-9]{1,2}:[0-9]{2}[+-][0-9]{2}:[0-9]{2}", fullmatch=True
    )
)
@example("0001-01-01 00:00+23:59")
@example("9999-12-31 23:59-23:59")
def test_a_time_with_a_zone_at_the_limits_of_the_calendar_is_a_time_or_a_value_error(text):
    for zone in ("UTC", "-23:59", "+23:59", "Asia/Kathmandu"):
        with contextlib.suppress(ValueError):
            assert isinstance(parse_time(text, TimeReading(zone=zone)), int)


def test_a_time_with_a_zone_does_not_fit_a_model_without_one():
    with pytest.raises(CellError, match="has a time zone, the training table had none"):
        parse_time("2024-01-01 12:00Z", TimeReading())


def test_a_time_without_a_zone_is_the_wall_clock_of_the_models_zone():
    assert parse_time("2024-07-01 12:00", TimeReading(zone="Europe/Oslo")) == micros(datetime(2024, 7, 1, 12))
    assert parse_time("2024-07-01 12:00Z", TimeReading(zone="Europe/Oslo")) == micros(datetime(2024, 7, 1, 14))


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["13:45", "9:05:30"], TimeReading(order="clock")),
        (["1:30 pm", "1:30 AM"], TimeReading(order="clock")),
        (["13/04/2024", "03/04/2024"], TimeReading(order="dmy")),
        (["04/13/2024", "03/04/2024"], TimeReading(order="mdy")),
        (["03.04.2024"], TimeReading(order="dmy")),
        (["2024-01-01T00:00+01:00", "2024-07-01T00:00+02:00"], TimeReading(zone="UTC")),
        (["2024-01-01T00:00-03:30"], TimeReading(zone="-03:30")),
        (["2024-01-01T00:00Z"], TimeReading(zone="UTC")),
        (["Oslo", "2024-01-01"], None),
        (["5", "6"], None),
        ([], None),
    ],
)
def test_how_times_are_written_is_recognised(texts, found):
    assert time_format(Counter(texts)) == found


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["03/04/2024", "05/06/2024"], "dates such as '03/04/2024', which may be day/month or month/day"),
        (
            ["02 Jan 2024", "3rd February 2024"],
            "holds dates such as '02 Jan 2024', a form that is not read (write them",
        ),
        (["Tue, 2 Jan 2024", "Jan 2, 2024"], "a form that is not read"),
        (["01/02/24", "31-12-24"], "a form that is not read"),
        (["2024-01", "2024-W05"], "a form that is not read"),
        (["2024-01-31", "31/12/2024"], "holds dates such as '2024-01-31', in several forms (write them as YYYY-MM-DD)"),
        (["2024-01-01 00:00Z", "2024-01-01 00:00"], "some have a time zone and others have none"),
    ],
)
def test_what_the_cells_leave_open_is_said(texts, message):
    assert message in time_format(Counter(texts))


@pytest.mark.parametrize("zone", ["Nowhere/City", "Europe", "+99:00", "+x", "-x", "/etc/passwd", "UTC/", "a" * 64])
def test_a_zone_that_does_not_exist_is_invalid_input(zone):
    with pytest.raises(InvalidInput, match="there is no time zone"):
        in_zone(np.array([0]), zone)


@pytest.mark.parametrize("utc", [-(2**62), 2**62, micros(datetime(1, 1, 1)), micros(datetime(9999, 12, 31, 23))])
def test_times_beyond_the_calendar_are_invalid_input(utc):
    with pytest.raises(InvalidInput, match="outside the years 1 to 9999"):
        in_zone(np.array([utc]), "Europe/Oslo")


@pytest.mark.parametrize(
    ("zone", "possible"),
    [("UTC", True), ("Europe/Oslo", True), ("+05:30", True), ("+24:00", False), ("+5", False), ("-", False)],
)
def test_an_offset_has_hours_and_minutes_of_less_than_a_day(zone, possible):
    assert is_zone_name(zone) == possible


def walls(start, periods, freq):
    return pd.date_range(start, periods=periods, freq=freq).as_unit("us").asi8.astype(np.float64)


@pytest.mark.parametrize(
    ("wall", "parts"),
    [
        (walls("2024-01-01", 48, "h"), ()),
        (walls("2024-01-01", 49, "h"), ("time_of_day",)),
        (walls("2024-01-01", 30, "D"), ("day_of_week",)),
        (walls("2024-01-01", 14, "D"), ()),
        (walls("2024-01-01", 15, "D"), ("day_of_week",)),
        (walls("2024-01-01", 120, "D"), ("day_of_week", "day_of_month")),
        (walls("2022-01-01", 1100, "D"), ("day_of_week", "day_of_month", "day_of_year")),
        (walls("2022-01-01", 1100, "23h"), ("time_of_day", "day_of_week", "day_of_month", "day_of_year")),
        (walls("2024-01-01", 30, "7D"), ("day_of_month",)),
        (walls("1969-12-29", 15, "D"), ("day_of_week",)),
        (walls("2024-01-01", 1, "D"), ()),
    ],
)
def test_a_part_is_learned_if_it_varies_and_three_cycles_were_seen(wall, parts):
    """Mondays begin a week: 15 days from a Monday touch three weeks, 14 days touch two."""
    found = learnable_parts(wall)
    assert found == parts


def test_a_time_of_day_is_learned_if_it_varies():
    assert learnable_parts(np.array([0.0, 1.0]), is_clock=True) == ("time_of_day",)
    assert learnable_parts(np.array([1.0, 1.0]), is_clock=True) == ()


@pytest.mark.parametrize(
    "texts", [["May Road 1", "Oslo"], ["1.2.3", "1.10.4"], ["2009/10", "2010/11"], ["10.0.0.1"], ["?"], []]
)
def test_what_only_resembles_dates_is_none(texts):
    assert time_format(Counter(texts)) is None
