"""A profile as a page: hostile texts stay texts, and histograms have the right heights."""

from __future__ import annotations

import re

import pytest

from anomaly_vae.cli.profile_columns import ColumnProfile
from anomaly_vae.cli.profile_report import Report, as_html, print_report

HOSTILE = '<script>alert(1)</script>"\x1b[31m\u202e'


@pytest.fixture
def report():
    columns = [
        ColumnProfile("x", "continuous", "modelled", 0.0, 3, "0 to 2", (4, 0, 2), "continuous"),
        ColumnProfile(HOSTILE, "left out", HOSTILE, 0.125, 9, HOSTILE, (), "exclude"),
    ]
    return Report(HOSTILE, 6, [HOSTILE], columns, HOSTILE)


def test_the_page_escapes_every_text(report):
    page = as_html(report)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 7, "the title twice, a note, three cells and the configuration"
    for mark in ("\x1b", "\u202e"):
        assert mark not in page


def test_the_bars_are_as_high_as_the_counts(report):
    heights = [float(height) for height in re.findall(r'<rect[^>]* height="([0-9.]+)"', as_html(report))]
    assert heights == [28.0, 0.0, 14.0]


def test_the_terminal_gets_no_control_characters(report, capsys):
    print_report(report)
    out = capsys.readouterr().out
    assert "\x1b[31m" not in out
    assert "█ ▅" in out, "an empty part of the range is a space"
    assert "2 columns, 1 of them used" in out.replace("\n", " ")
