"""Horizontal bars, also as a waterfall."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from anomaly_vae.pages.bars import Bar, bars


def rects_of(svg):
    return [(float(each.get("x")), float(each.get("width"))) for each in ElementTree.fromstring(svg).iter("rect")]


def test_bars_are_as_long_as_the_values_and_start_together():
    (a, wide), (b, narrow) = rects_of(bars([Bar("amount", 40.0), Bar("items", 10.0)], "B"))
    assert a == b
    assert wide == pytest.approx(4 * narrow, rel=0.01)


def test_negative_bars_go_to_the_left():
    svg = bars([Bar("up", 1.0), Bar("down", -1.0)], "B")
    (up, width), (down, _) = rects_of(svg)
    assert down + width == pytest.approx(up, abs=0.2)
    assert 'class="bar out"' in svg


def test_a_waterfall_begins_where_the_bar_above_ends():
    (first, width), (second, _) = rects_of(bars([Bar("a", 3.0), Bar("b", 2.0)], "B", adds_up=True))
    assert second == pytest.approx(first + width, abs=0.2)


def test_errors_are_lines_and_names_are_cut_with_a_title():
    svg = bars([Bar("n" * 50, 3.0, "a note", 0.5)], "B")
    assert 'class="error"' in svg
    assert "n" * 10 + "…nnnnn" in svg
    assert f"<title>{'n' * 50}</title>" in svg
    assert "<title>a note</title>" in svg
    assert 'class="error"' not in bars([Bar("n", 3.0)], "B")
