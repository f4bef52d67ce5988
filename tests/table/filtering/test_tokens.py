"""The parts of a filter, and mistakes in it."""

from __future__ import annotations

from fractions import Fraction

import pytest

from anomaly_vae.errors import ConfigError
from anomaly_vae.table.filtering.tokens import tokens_of


def test_the_parts_of_a_filter():
    found = [(each.kind, each.text) for each in tokens_of("""a>=-1.5e3 and "b ""c"" d" In('it''s', .5) not null""")]
    assert found == [
        ("name", "a"), ("mark", ">="), ("mark", "-"), ("number", "1.5e3"), ("word", "AND"), ("name", 'b "c" d'),
        ("word", "IN"), ("mark", "("), ("text", "it's"), ("mark", ","), ("number", ".5"), ("mark", ")"),
        ("word", "NOT"), ("word", "NULL"), ("end", ""),
    ]  # fmt: skip
    assert tokens_of("0.1")[0].number == Fraction(1, 10)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = 'x", r"this quote is not closed at character 5, marked by \^: a = \^'x$"),
        ("a ; b", r"this is no part of a filter at character 3, marked by \^: a \^; b"),
        ("1x > 2", "no part of a filter at character 1"),
        ('"" = 1', "this quote is not closed"),
    ],
)
def test_what_is_no_part_of_a_filter_is_marked(text, message):
    with pytest.raises(ConfigError, match=message):
        tokens_of(text)
