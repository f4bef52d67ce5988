"""Intervals beside a limit."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from anomaly_vae.pages.intervals import Interval, intervals


def test_points_lie_inside_their_intervals_and_beside_the_limit():
    given = [Interval("Oslo", 0.01, 0.0, 0.02), Interval("x" * 30, 0.08, 0.05, 0.1, is_out=True)]
    svg = intervals(given, "False alarms", limit=0.05)
    root = ElementTree.fromstring(svg)
    first, second = root.iter("circle")
    lines = [each for each in root.iter("line") if each.get("class") in ("line l0", "line l1")]
    (limit,) = (each for each in root.iter("line") if each.get("class") == "mark")
    for line, point in zip(lines, (first, second), strict=True):
        assert float(line.get("x1")) < float(point.get("cx")) < float(line.get("x2"))
    assert float(first.get("cx")) < float(limit.get("x1")) < float(second.get("cx"))
    assert float(lines[1].get("x1")) == pytest.approx(float(limit.get("x1")), abs=0.1)
    assert [first.get("class"), second.get("class")] == ["dot", "out"]
    assert first.find("title").text == "Oslo: 1 %, interval 0 % to 2 %"
    assert "x" * 12 + "…xxxxx" in svg


def test_without_a_limit_there_is_no_line():
    assert 'class="mark"' not in intervals([Interval("a", 0.5, 0.4, 0.6)], "I")
    ElementTree.fromstring(intervals([], "I"))
