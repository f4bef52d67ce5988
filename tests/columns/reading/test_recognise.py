"""What a column holds, by its type or by its first cells."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly_vae.columns.reading.cells import CellReader
from anomaly_vae.columns.reading.codes import CodeBook
from anomaly_vae.columns.reading.missing import Markers
from anomaly_vae.columns.reading.recognise import Sample, count_texts, decimal_of, recognise
from anomaly_vae.columns.reading.records import Input, LeftOut, NumberReading, TextReading, TimeReading


def sample(*texts):
    return Sample("text", "text", count_texts(texts, Markers()))


@pytest.mark.parametrize(
    ("texts", "reading"),
    [
        (["1", "2.5", "-3e5", "inf"], NumberReading()),
        (["true", "False"], NumberReading(truth=True)),
        (["true", "1"], TextReading()),
        (["1.234,5", "7"], NumberReading(decimal=",", thousands=".")),
        (["$5", "$7.50"], NumberReading(affixes=("$",))),
        (["1", "2", "x"], NumberReading()),
        (["1", "x"], TextReading()),
        (["Oslo", "Rome"], TextReading()),
        (["2024-01-01", "2024-01-02"], TimeReading()),
        (["007", "010"], TextReading()),
        (["0", "10"], NumberReading()),
        (["0.5", "1"], NumberReading()),
        (["9007199254740993", "1"], TextReading()),
        (["9" * 5000, "1"], TextReading()),
        (["9007199254740992", "1"], NumberReading()),
        (["1_000", "2_000"], TextReading()),
        (["0x10", "0x11"], TextReading()),
        (["?", "-", "5"], NumberReading()),
        (["unknown", "Oslo"], TextReading()),
        ([], NumberReading()),
        (["", None, "NA"], NumberReading()),
    ],
)
def test_texts_show_what_a_column_holds(texts, reading):
    """Empty columns are numbers without a value, which are left out later."""
    assert recognise(sample(*texts), None, None).reading == reading


@pytest.mark.parametrize(
    ("form", "options", "reading"),
    [
        ("number", {}, NumberReading()),
        ("number", {"is_rounded": True}, TextReading()),
        ("truth", {}, NumberReading(truth=True)),
        ("category", {}, TextReading()),
        ("time", {}, TimeReading()),
        ("time", {"zone": "Europe/Oslo"}, TimeReading(zone="Europe/Oslo")),
        ("unusable", {}, LeftOut(why="holds int64")),
    ],
)
def test_a_type_shows_what_a_column_holds(form, options, reading):
    assert recognise(Sample(form, "int64", **options), None, None).reading == reading


@pytest.mark.parametrize("form", ["number", "truth", "time", "category", "text", "unusable"])
def test_an_excluded_column_is_left_out_whatever_it_holds(form):
    assert isinstance(recognise(Sample(form, "x"), "exclude", None).reading, LeftOut)


@pytest.mark.parametrize("form", ["number", "truth", "time", "category", "text"])
def test_a_column_set_to_categorical_is_text(form):
    assert recognise(Sample(form, "x", {"1.5": 3}), "categorical", None).reading == TextReading()


def test_numbers_with_leading_zeros_are_names_unless_the_user_says_otherwise():
    found = recognise(sample("007", "010"), None, None)
    assert "leading zeros such as '007'" in found.note
    assert found.can_be_numbers
    assert recognise(sample("007", "010"), "continuous", None).reading == NumberReading()


def test_rounded_whole_numbers_offer_no_kind_that_reading_would_refuse():
    found = recognise(sample("9007199254740993"), None, None)
    assert "float64 would round" in found.note
    assert not found.can_be_numbers


@pytest.mark.parametrize("wanted", ["datetime", ("trend", "time_of_day")])
def test_the_user_can_ask_for_times(wanted):
    parts = () if wanted == "datetime" else ("time_of_day", "trend")
    assert recognise(sample("2024-01-01"), wanted, None).reading == TimeReading(parts=parts)
    refused = recognise(sample("Oslo"), wanted, None).reading
    assert refused.why.startswith("is set to datetime, but holds text such as 'Oslo'")
    assert "holds int64" in recognise(Sample("number", "int64"), wanted, None).reading.why


def test_dates_that_can_be_read_in_two_ways_are_left_out_with_the_reason():
    found = recognise(sample("03/04/2024"), None, None).reading
    assert found.why.startswith("holds dates such as '03/04/2024', which may be")


def test_a_reason_can_be_printed_and_is_short():
    """Names of types hold names of fields, which anyone can choose."""
    why = recognise(Sample("unusable", "struct<\x1b[2J\n: int> " + "x" * 1000), None, None).reading.why
    assert why.isprintable()
    assert len(why) < 100


def test_cells_are_counted_without_white_space_and_missing_ones():
    assert count_texts([" a", "a ", None, "NA", "-", "b"], Markers(["b"])) == Counter({"a": 2})


def test_the_columns_of_a_table_show_one_decimal_mark_together():
    assert decimal_of([sample("1,5"), sample("1.234"), Sample("number", "int64")]) == ","
    assert decimal_of([sample("1,5"), sample("2.5")]) is None
    assert decimal_of([]) is None
    assert recognise(sample("1.234"), None, ",").reading == NumberReading(decimal=",", thousands=".")


NUMBERS = ["1", "2.5", "1,5", "1.234,5", "1,234.5", "12 %", "$5", "5 €", "(3)", "007", "9007199254740993", "NA", "-"]
TIMES = ["2024-01-01", "31/12/2024", "12/31/2024", "1.2.2024", "13:45", "1:30 pm", "2024-01-01 00:00Z"]
CELLS = st.sampled_from([*NUMBERS, *TIMES, "true", "False", "x", "Oslo"])


@given(st.lists(CELLS | st.text(st.sampled_from("0123456789.,-:/ $€%()eE"), max_size=8), min_size=1, max_size=12))
def test_most_cells_of_a_column_can_be_read_as_it_was_recognised(texts):
    """Cells that cannot be read make their rows faulty: with more than half of them, the column is something else."""
    markers = Markers()
    reading = recognise(sample(*texts), None, None).reading
    if isinstance(reading, LeftOut):
        return
    each = CellReader([Input(name="a", reading=reading)], CodeBook({"a": ()}, grows=True), markers)
    values, bad = each.texts("a", texts)
    known = sum(not markers.among_numbers(text.strip()) for text in texts)
    assert len(bad) <= 0.5 * known
    if isinstance(reading, TextReading):
        assert not bad
    assert np.isnan(values[list(bad)]).all()


def test_a_mark_that_the_user_named_holds_whatever_the_cells_show():
    point, comma = sample("21.39", "7.25"), sample("21,39", "7,25")
    assert recognise(comma, None, ".").reading == NumberReading(decimal=",")
    assert recognise(comma, None, ".", is_certain=True).reading == TextReading()
    assert recognise(point, None, ",").reading == NumberReading()
    assert recognise(point, None, ",", is_certain=True).reading == TextReading()
    assert recognise(sample("1.234", "5.678"), None, ",", is_certain=True).reading == NumberReading(
        decimal=",", thousands="."
    )
