"""Numbers as people write them: what is written is what is read, and nothing else."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from anomaly_vae.columns.reading.numbers import (
    decimal_evidence,
    is_rounded,
    number_format,
    parse_number,
    swap_decimal,
)
from anomaly_vae.columns.reading.records import CellError, NumberReading

MARKS = [(".", ""), (".", ","), (",", ""), (",", "."), (".", " "), (",", " "), (".", "'"), (",", "'")]
READINGS = [NumberReading(decimal=decimal, thousands=thousands) for decimal, thousands in MARKS]
MONEY = st.decimals(-(10**9), 10**9, places=2)


def written(number, decimal, thousands):
    """Return a number with two decimals in a style."""
    text = f"{number:,.2f}" if thousands else f"{number:.2f}"
    return text.translate(str.maketrans({",": thousands, ".": decimal}))


@given(st.lists(MONEY, min_size=1, max_size=20), st.sampled_from(MARKS), st.sampled_from(["", "$", "€", "EUR", "%"]))
def test_a_column_of_numbers_in_any_style_is_read_as_the_same_numbers(numbers, marks, affix):
    """Two decimals show which mark is the decimal one: three digits after a mark would be open."""
    decimal, thousands = marks
    texts = [written(number, decimal, thousands) + (f" {affix}" if affix else "") for number in numbers]
    reading = number_format(Counter(texts), None)
    assert reading is not None
    assert reading.decimal == decimal
    assert [parse_number(text, reading) for text in texts] == [float(number) for number in numbers]


@given(st.lists(MONEY, min_size=1, max_size=20), st.sampled_from("$€£"))
def test_accounts_write_losses_in_brackets_and_currencies_before_the_number(numbers, sign):
    texts = [f"({sign}{-number:,.2f})" if number < 0 else f"{sign}{number:,.2f}" for number in numbers]
    reading = number_format(Counter(texts), None)
    assert [parse_number(text, reading) for text in texts] == [float(number) for number in numbers]


@given(st.text(st.sampled_from("0123456789.,' +-eE$€()%"), min_size=1, max_size=12), st.sampled_from(READINGS))
@example("1200.25", NumberReading(decimal=","))
def test_a_number_is_read_only_where_its_marks_fit(text, reading):
    """The decimal mark is the last mark and there is one, and marks of thousands divide groups of three digits."""
    assume(not reading.is_plain)
    try:
        value = parse_number(text, reading)
    except ValueError:
        return
    mantissa, _, exponent = text.strip().lstrip("+- ").lower().partition("e")
    whole, _, fraction = mantissa.partition(reading.decimal)
    groups = whole.split(reading.thousands) if reading.thousands else [whole]
    assert len(groups) == 1 or (1 <= len(groups[0]) <= 3 and all(len(group) == 3 for group in groups[1:]))
    assert "".join(groups).isdigit() or not whole
    assert fraction.isdigit() or not fraction
    plain = f"{''.join(groups)}.{fraction}e{exponent or 0}"
    assert abs(value) == float(plain)


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("1200.25", NumberReading(decimal=",")),
        ("1,200", NumberReading()),
        ("1_000", NumberReading()),
        ("1.200,5", NumberReading(decimal=".", thousands=",")),
        ("12,34", NumberReading(thousands=",")),
        ("0,123", NumberReading(thousands=",")),
        ("1,2345", NumberReading(thousands=",")),
        ("1,234 567", NumberReading(thousands=",")),
        ("5 €", NumberReading(decimal=",")),
        ("5 $", NumberReading(affixes=("€",))),
        ("(5)", NumberReading(affixes=("€",))),
        ("(5", NumberReading(affixes=("()",))),
        ("--5", NumberReading(affixes=("()",))),
        ("(-5)", NumberReading(affixes=("()",))),
        ("-(5)", NumberReading(affixes=("()",))),
        ("true", NumberReading()),
        ("yes", NumberReading(truth=True)),
        ("", NumberReading(decimal=",")),
        ("€", NumberReading(affixes=("€",))),
        (",", NumberReading(decimal=",")),
        ("x5", NumberReading()),
    ],
)
def test_a_cell_of_another_format_is_no_number(text, reading):
    with pytest.raises(ValueError, match=r".*"):
        parse_number(text, reading)


@pytest.mark.parametrize(
    ("text", "reading", "value"),
    [
        ("1.234.567,5", NumberReading(decimal=",", thousands="."), 1234567.5),
        ("1234567,5", NumberReading(decimal=",", thousands="."), 1234567.5),
        ("1 234,5", NumberReading(decimal=",", thousands=" "), 1234.5),
        ("1\u202f234,5", NumberReading(decimal=",", thousands=" "), 1234.5),
        ("1’234.5", NumberReading(thousands="'"), 1234.5),
        ("\u221212,5", NumberReading(decimal=","), -12.5),
        (",5", NumberReading(decimal=","), 0.5),
        ("5,", NumberReading(decimal=","), 5.0),
        ("1,5e3", NumberReading(decimal=","), 1500.0),
        ("-$5", NumberReading(affixes=("$",)), -5.0),
        ("$-5", NumberReading(affixes=("$",)), -5.0),
        ("TRUE", NumberReading(truth=True), 1.0),
        ("false", NumberReading(truth=True), 0.0),
        ("0", NumberReading(truth=True), 0.0),
    ],
)
def test_usual_ways_to_write_a_number_are_read(text, reading, value):
    assert parse_number(text, reading) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_read_bit_for_bit(number):
    assume(not is_rounded(repr(number)))
    assert parse_number(repr(number), NumberReading()) == number
    assert parse_number(repr(number).replace(".", ","), NumberReading(decimal=",")) == number


@given(st.integers(-(2**70), 2**70))
@example(2**53)
@example(2**53 + 1)
@example(2**64 - 1)
def test_a_whole_number_is_read_exactly_or_refused(number):
    for text, reading in ((str(number), NumberReading()), (f"{number:,}", NumberReading(thousands=","))):
        try:
            assert parse_number(text, reading) == number
        except CellError:
            assert int(float(number)) != number


@pytest.mark.parametrize("digits", ["9" * 400, "9" * 5000, "0" * 20 + "7", "1" + "0" * 309, "٩٠٠٧١٩٩٢٥٤٧٤٠٩٩٣"])
def test_very_long_numbers_are_refused_without_another_error(digits):
    assert is_rounded(digits) == (digits[0] != "0")


@pytest.mark.parametrize("text", ["", "+", "abc", "1.5", "1e400", "9007199254740993.5", "-", "²²²²²²²²²²²²²²²²²²"])
def test_only_whole_numbers_can_be_rounded_ones(text):
    assert not is_rounded(text)


@pytest.mark.parametrize(
    ("texts", "mark"),
    [
        (["1,5"], ","),
        (["1.5"], "."),
        (["1.234"], None),
        (["1,234"], None),
        (["1,234.5"], "."),
        (["1.234,5"], ","),
        (["12"], None),
        (["x"], None),
        ([], None),
        (["1,5", "2,25", "3.5"], ","),
    ],
)
def test_a_column_shows_its_decimal_mark_unless_both_fit(texts, mark):
    assert decimal_evidence(Counter(texts)) == mark


@pytest.mark.parametrize(
    ("texts", "decimal", "value"),
    [(["1,234"], None, 1234.0), (["1,234"], ",", 1.234), (["1.234"], None, 1.234), (["1.234"], ",", 1234.0)],
)
def test_other_columns_decide_where_both_marks_fit(texts, decimal, value):
    assert parse_number(texts[0], number_format(Counter(texts), decimal)) == value


@pytest.mark.parametrize(
    "texts",
    [
        {"$5": 1, "5 €": 1},
        {"x": 2, "5,5": 8},
        {"192.168.1.1": 1},
        {"1,2,3": 1},
        {"12:30": 1},
        {"5 apples": 1},
        {"Oslo": 1},
    ],
)
def test_texts_that_are_no_numbers_have_no_format(texts):
    """Amounts in two currencies have no common unit, and one typing error in ten cells is the most."""
    assert number_format(texts, None) is None


def test_a_few_errors_of_typing_do_not_make_a_column_a_text():
    assert number_format({"x": 1, "5,5": 9}, None) == NumberReading(decimal=",")


@pytest.mark.parametrize("reading", READINGS)
def test_swapped_marks_never_coincide_and_swapping_back_gives_the_same(reading):
    for decimal in (".", ","):
        swapped = swap_decimal(reading, decimal)
        assert swapped.decimal == decimal != swapped.thousands
        assert swap_decimal(swapped, reading.decimal) == reading


@pytest.mark.parametrize(
    "text",
    [
        "+" + " " * 20_000 + "x",
        "$" + " " * 20_000 + "x",
        "1" + " " * 20_000 + "x",
        "1 " * 20_000 + "x",
        "1" + ".111" * 20_000 + "x",
        "," * 20_000,
        "(" * 20_000,
        "1" * 4_000 + "e",
    ],
)
def test_a_long_cell_is_refused_at_once(text):
    """A caller of a service could hold it up with one cell otherwise; three rows of spaces took cubic time."""
    reading = NumberReading(decimal=",", thousands=".", affixes=("$", "()"))
    start = time.perf_counter()
    with pytest.raises(ValueError, match=r".*"):
        parse_number(text, reading)
    assert time.perf_counter() - start < 1.0
