"""What training found out about columns, for people and for programs."""

from __future__ import annotations

import io
import sys

import pytest

from anomaly_vae.cli.findings import as_json, refuse_left_out, show_findings
from anomaly_vae.columns.plan import Finding
from anomaly_vae.errors import InvalidInput

USED = Finding("when", "dates and times", "holds dates and times: the model learns time of day")
NOTES = Finding("notes", "names or free text", "holds 99 different texts: left out", True)
NUMBER = Finding("", "index", "1 has no name: left out", True, "give it a name")
ODD = Finding("[red]x\x1b[2J", "empty", "is empty: left out", True)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_what_is_left_out_comes_first_and_is_shown_even_if_quiet(capsys):
    show_findings([USED, NOTES, NUMBER], quiet=False)
    left_out = [
        "anomaly-vae: column 'notes' holds 99 different texts: left out",
        "anomaly-vae: column 1 has no name: left out; give it a name",
    ]
    used = "anomaly-vae: column 'when' holds dates and times: the model learns time of day"
    assert capsys.readouterr().err.splitlines() == [*left_out, used]
    show_findings([USED, NOTES, NUMBER], quiet=True)
    assert capsys.readouterr().err.splitlines() == left_out
    show_findings([USED], quiet=True)
    assert capsys.readouterr() == ("", "")


def test_many_used_columns_are_cut_and_columns_left_out_are_not(capsys):
    show_findings([USED] * 50 + [NOTES] * 50, quiet=False)
    lines = capsys.readouterr().err.splitlines()
    assert sum("left out" in line for line in lines) == 50
    assert lines[-1] == "anomaly-vae: and 30 more; `anomaly-vae profile` shows all"


def test_a_terminal_gets_a_table_in_which_names_cannot_do_anything(monkeypatch):
    """A name is no markup and no control of the terminal."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("COLUMNS", "150")
    show_findings([USED, ODD, NUMBER], quiet=False)
    shown = sys.stderr.getvalue()
    assert "taken for" in shown
    assert "[red]x" in shown
    assert "\x1b[2J" not in shown
    assert "1 has no name: left out; give it a name" in shown


def test_strict_refuses_all_columns_that_are_left_out_in_one_message():
    with pytest.raises(InvalidInput) as error:
        refuse_left_out([USED, NOTES, NUMBER], None)
    assert str(error.value) == (
        "2 columns cannot be used (--strict): column 'notes' holds 99 different texts: left out; column 1 has no name: "
        "left out; give it a name"
    )
    assert error.value.field == "notes"


def test_only_columns_that_were_asked_for_are_refused_without_strict():
    refuse_left_out([USED, NOTES, NUMBER], frozenset())
    refuse_left_out([USED, NOTES, NUMBER], frozenset({"when"}))
    refuse_left_out([USED], None)
    with pytest.raises(InvalidInput, match=r"^1 column cannot be used \(--columns\): column 'notes' holds 99"):
        refuse_left_out([USED, NOTES, NUMBER], frozenset({"when", "notes"}))


def test_findings_for_programs_have_every_field():
    assert as_json([NUMBER]) == [
        {
            "column": "",
            "taken_for": "index",
            "text": "1 has no name: left out",
            "is_left_out": True,
            "remedy": "give it a name",
        }
    ]
