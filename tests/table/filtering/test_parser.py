"""From text to tree."""

from __future__ import annotations

import contextlib
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_vae.errors import ConfigError
from anomaly_vae.table.filtering.parser import parse_filter
from anomaly_vae.table.filtering.tree import And, Check, Not, Or

A, B, C = (Check(name, "=", (Fraction(1),)) for name in "abc")


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a = 1 OR b == 1 AND c = 1", Or((A, And((B, C))))),
        ("(a = 1 or b = 1) and c = 1", And((Or((A, B)), C))),
        ("NOT a = 1 AND b = 1", And((Not(A), B))),
        ("a <> -2", Check("a", "!=", (Fraction(-2),))),
        ("2 < a", Check("a", ">", (Fraction(2),))),
        ("a BETWEEN 1 AND 2 AND b = 1", And((And((Check("a", ">=", (1,)), Check("a", "<=", (2,)))), B))),
        ("a NOT IN (1, 'x', true)", Not(Check("a", "in", (Fraction(1), "x", True)))),
        ("a IS NOT NULL", Not(Check("a", "null", ()))),
        ("\"a b\" LIKE 'x%'", Check("a b", "like", ("x%",))),
        ("a", Check("a", "=", (True,))),
    ],
)
def test_trees(text, tree):
    assert parse_filter(text) == tree


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected the name of a column at character 1"),
        ("a >", r"expected a number, a 'text', TRUE or FALSE at character 4, marked by \^: a >\^$"),
        ("a = b", "texts are in single quotes, and columns are compared with values only at character 5"),
        ("a = NULL", "nothing equals NULL; write IS NULL or IS NOT NULL at character 5"),
        ("1 = 2", "here are two values at character 1"),
        ("a = 1 b = 2", "expected AND, OR or the end at character 7"),
        ("a NOT 1", "expected IN, BETWEEN or LIKE after NOT"),
        ("a IS 1", "expected NULL at character 6"),
        ("a LIKE 1", "expected a 'text' after LIKE"),
        ("a IN 1", r"expected \( at character 6"),
        ("(a = 1", r"expected \) at character 7"),
        ("'x' IN (1)", "expected a comparison such as = after a value"),
        ("(" * 60, "more than 50 levels"),
    ],
)
def test_mistakes_are_marked(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_filter(text)


@settings(deadline=None)
@given(st.text("ab'\"()=<>,. 1ANDORINT", max_size=20))
def test_any_text_is_a_filter_or_a_mistake(text):
    """No other error comes out of the parser."""
    with contextlib.suppress(ConfigError):
        parse_filter(text)
