"""Markers of missing cells: some in every column, some only among numbers, and those that the user adds."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from anomaly_vae.columns.reading.missing import MISSING_AMONG_NUMBERS, MISSING_TEXTS, Markers, check_markers, text_of
from anomaly_vae.errors import ConfigError


@pytest.mark.parametrize("text", ["", "NA", "n/a", "NaN", "NULL", "None", "NaT", "<NA>", "#N/A", "#NA"])
def test_strong_markers_are_missing_in_every_column(text):
    assert Markers().in_texts(text)
    assert Markers().among_numbers(text)
    assert text_of(f" {text} ") is None


@pytest.mark.parametrize("text", ["-", "--", "?", ".", "Unknown", "missing", "n.a.", "(null)", "nil", "not available"])
def test_weak_markers_are_missing_among_numbers_and_categories_among_texts(text):
    """A survey has the answer "unknown"; a column of numbers has no number of that name."""
    assert Markers().among_numbers(text)
    assert not Markers().in_texts(text)
    assert text_of(text) == text


def test_every_strong_marker_is_a_weak_one():
    assert MISSING_TEXTS < MISSING_AMONG_NUMBERS


def test_markers_of_the_user_hold_in_every_column_and_numbers_are_compared_as_numbers():
    markers = Markers(["Absent ", "-999"])
    assert markers.in_texts("ABSENT")
    assert markers.among_numbers("absent")
    assert markers.in_texts("-999.0")
    assert not markers.in_texts("999")
    np.testing.assert_array_equal(markers.without(np.array([-999.0, 999.0, np.nan])), [np.nan, 999.0, np.nan])


def test_without_markers_numbers_stay_the_same_array():
    values = np.array([1.0, -999.0])
    assert Markers().without(values) is values
    assert Markers(["nan", "none"]).without(values) is values


def test_markers_are_texts_and_numbers():
    assert check_markers(["x", -1, 2.5, np.int64(7), np.float32(0.5), math.nan]) == (
        "x",
        "-1",
        "2.5",
        "7",
        "0.5",
        "nan",
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("unknown", "must be a list of texts or numbers such as .*, got 'unknown'"),
        (7, "must be a list"),
        ([True], "must hold texts or numbers, got True"),
        ([None], "must hold texts or numbers, got None"),
        ([["a"]], r"must hold texts or numbers, got \['a'\]"),
        (["a\x1b[2J"], "can be printed"),
        (["\ud800"], "can be printed"),
    ],
)
def test_other_markers_are_refused(values, message):
    """The manifest keeps them, and commands print them."""
    with pytest.raises(ConfigError, match=message):
        check_markers(values)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (" Oslo ", "Oslo"),
        (b"Oslo", "Oslo"),
        (b"\xff", "\ufffd"),
        ("3.0", "3"),
        ("3.00", "3"),
        ("-3.0", "-3"),
        ("3.10", "3.10"),
        ("03", "03"),
        (3, "3"),
        (3.0, "3"),
        (np.float32(0.5), "0.5"),
        (np.int8(-3), "-3"),
        (True, "1"),
        (np.False_, "0"),
        (1e300, "1e+300"),
        (2**60, str(2**60)),
        (math.nan, None),
        (None, None),
        (pd.NA, None),
        (pd.NaT, None),
    ],
)
def test_a_category_has_one_text_in_every_form(value, text):
    assert text_of(value) == text
