"""Texts for people: numbers, shares, and characters that must not reach a page."""

from __future__ import annotations

import math

import pytest

from anomaly_vae.pages.texts import clean, counted, number, share, short


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-39.3811, "-39.38"),
        (1234567.0, "1,234,567"),
        (0.000123456, "0.0001235"),
        (0.00001234, "1.234e-05"),
        (5e12, "5.000e+12"),
        (100.0, "100"),
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "∞"),
        (-math.inf, "-∞"),
    ],
)
def test_numbers_have_four_digits_and_commas(value, text):
    assert number(value) == text


def test_shares_and_counts():
    assert [share(0.00999, 3), share(1.0), share(None), share(math.nan)] == ["0.999 %", "100 %", "–", "–"]
    assert [counted(1, "row"), counted(2000, "row"), counted(2, "index", "indices")] == [
        "1 row",
        "2,000 rows",
        "2 indices",
    ]


def test_hostile_characters_are_replaced_and_other_scripts_stay():
    hostile = "a\x00b\x1b[31m\u202ec\ud800d\u2066\u200b"
    assert clean(hostile) == "a\ufffdb\ufffd[31m\ufffdc\ufffdd\ufffd\ufffd"
    assert clean("שלום\nø日本") == "שלום\nø日本"
    clean(hostile).encode("utf-8")


def test_long_texts_keep_their_start_and_their_end():
    assert short("abcdef", 6) == "abcdef"
    assert short("abcdefg", 6) == "abcd…g"
    assert short("abcdefg", 2) == "a…"
    assert len(short("x" * 99, 18)) == 18
