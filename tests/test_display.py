"""Tables of results as text, as HTML and for rich; texts repeat cells of strangers, so they must do no harm."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from anomaly_vae.display import as_html, as_rich, as_text

HOSTILE = "<script>alert(1)</script> & [red]bold[/red] \x1b[2J\n\u202eleft"


def columns(n, text=None):
    return {"value": np.arange(n) / 4 - 1, "flag": np.arange(n) == 1, "reason": [text] * n}


def printed(table, width=120):
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    return console.file.getvalue()


def test_a_short_table_is_shown_whole_and_aligned():
    assert as_text("3 rows", columns(3, "new")) == (
        "3 rows\n     value   flag  reason\n0  -1.0000  False  new\n1  -0.7500   True  new\n2  -0.5000  False  new"
    )


def test_a_long_table_shows_its_ends():
    lines = as_text("1,000 rows", columns(1000)).splitlines()
    assert [line.split()[0] for line in lines[2:]] == [*"01234", "..", "995", "996", "997", "998", "999"]
    assert len({line.index("F") + 5 for line in lines[2:] if line.endswith("False")}) == 1, "a column is not aligned"
    assert len(as_text("10 rows", columns(10)).splitlines()) == 12


def test_a_table_without_rows_is_its_title():
    assert as_text("0 rows", columns(0)) == "0 rows"
    assert "<p>0 rows</p>" in as_html("0 rows", columns(0))
    assert "0 rows" in printed(as_rich("0 rows", columns(0)))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, "0.0000"),
        (-12.34567, "-12.3457"),
        (1e-9, "1e-09"),
        (-3.21e15, "-3.21e+15"),
        (np.nan, "nan"),
        (-np.inf, "-inf"),
        (np.int64(1234), "1234"),
        (np.True_, "True"),
        (None, ""),
        ("a\tb", "a\\tb"),
    ],
    ids=str,
)
def test_values_are_short(value, expected):
    assert as_text("", {"x": [value]}).splitlines()[2] == f"0  {expected}".rstrip()


def test_lines_have_at_most_100_characters():
    lines = as_text("t" * 200, columns(30, "x" * 5000)).splitlines()
    assert max(map(len, lines)) == 100
    assert lines[0].endswith("...")
    assert len(as_html("", columns(2, "x" * 10**6))) < 1000
    assert len(printed(as_rich("", columns(2, "x" * 10**6)))) < 3000


def test_a_hostile_text_does_nothing():
    """No markup, and no character that moves the cursor or turns the direction of writing."""
    shown = "<script>alert(1)</script> & [red]bold[/red] \\x1b[2J\\n\\u202eleft"
    assert as_text("", columns(1, HOSTILE)).splitlines()[2] == f"0  -1.0000  False  {shown}"
    page = as_html("<b>", columns(1, HOSTILE) | {"<i>": [1]})
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; [red]bold" in page
    assert [tag for tag in ("<script", "<b>", "<i>", "\x1b", "\u202e") if tag in page] == []
    text = printed(as_rich("[b]title[/b]", columns(1, HOSTILE)))
    assert shown in text
    assert "[b]title[/b]" in text
