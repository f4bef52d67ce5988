"""docs/options.md says what the code says."""

import pytest

from tests.support.documents import PAGES, inline_code_of, name_of, text_of
from tests.support.option_tables import PAGE, Row, option_row, page


def test_the_page_of_options_is_up_to_date():
    assert text_of(PAGE) == page(), "docs/options.md is out of date; run `make docs`"


@pytest.mark.parametrize(
    ("names", "text", "row"),
    [
        ("--force", "Do it.", Row("`--force`", "", "", "Do it.")),
        ("-o, --output PATH", "File.  [required]", Row("`-o, --output PATH`", "required", "", "File.")),
        ("--rate FLOAT RANGE", "Share.  [default: 1]  [0<x<1]", Row("`--rate FLOAT`", "1", "", "Share. `0<x<1`")),
        ("--steps N", "Most.  [default: 9; 4 with --off]", Row("`--steps N`", "9; 4 with --off", "", "Most.")),
        ("--port N", "Port.  [env var: PORT; default: 1]", Row("`--port N`", "1", "`PORT`", "Port.")),
        ("--log a|b", "x<y", Row("`--log a\\|b`", "", "", "x&lt;y")),
    ],
)
def test_a_help_text_is_split_into_its_parts(names, text, row):
    assert option_row(names, text) == row


@pytest.mark.parametrize("path", [path for path in PAGES if path != PAGE], ids=name_of)
def test_every_option_that_a_page_names_exists(path):
    """Of ours, or one of the tools that a page uses."""
    others = {"--streaming"}  # of perf_analyzer
    known = {word for row in page().split("`") for word in row.replace(",", " ").split() if word.startswith("--")}
    named = {word for code in inline_code_of(path) for word in code.split() if word.startswith("--")}
    assert named <= known | others | {"--help", "--version"}
