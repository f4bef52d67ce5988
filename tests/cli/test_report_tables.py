"""How figures and texts of the user's files are printed."""

from __future__ import annotations

import pytest

from anomaly_vae.assessment.proportions import proportion
from anomaly_vae.cli.report_tables import console, counted, heading, note, share, shortened, table


@pytest.mark.parametrize(
    ("count", "total", "text"),
    [(0, 0, "-"), (12, 1000, "1.2 % (0.62-2.1)"), (0, 3, "0 % (0-71)"), (1000, 1000, "100 % (99.6-100)")],
)
def test_a_share_has_its_interval(count, total, text):
    assert share(proportion(count, total, 0.95)) == text


def test_texts_are_shortened_and_counted():
    assert (shortened("Zürich", 6), shortened("Winterthur", 6)) == ("Zürich", "Winte…")
    assert (counted(1, "row"), counted(1200, "row")) == ("1 row", "1,200 rows")


def test_markup_and_control_characters_in_texts_are_shown_as_text(capsys):
    to = console()
    heading(to, "[bold]x[/bold]")
    note(to, "a\x1b[31mb")
    to.print(table(["name", "n"], [["[red]\x07", "1"]]))
    out = capsys.readouterr().out
    assert "[bold]x[/bold]" in out
    assert "a?[31mb" in out
    assert "[red]?" in out
    assert "\x1b" not in out
