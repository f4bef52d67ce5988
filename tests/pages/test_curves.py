"""Lines: through their points, with gaps, legends and bands."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest

from anomaly_vae.pages.curves import Line, Point, lines, small_line


def paths_of(svg):
    return [each.get("d") for each in ElementTree.fromstring(svg).iter("path")]


def test_a_line_runs_through_its_points_and_has_gaps():
    (path,) = paths_of(lines([Line("", [0, 1, 2, 3], [0.0, 1.0, math.nan, 0.5])], "L", "x", "y", y_range=[0, 1]))
    assert path == "M52.0 210.0L164.0 12.0M388.0 111.0"


def test_lines_with_names_have_a_legend_and_a_higher_chart():
    given = [Line("training", [0, 1], [0, 1]), Line("held-out", [0, 1], [1, 2])]
    svg = lines(given, "L", "x", "y")
    assert ">training</text>" in svg
    assert 'viewBox="0 0 400 266"' in svg
    assert {"line l0", "line l1"} <= set(re.findall(r'<path[^>]* class="([^"]*)"', svg))


def test_the_diagonal_points_and_bands():
    line, upper, lower = (Line("", [0, 1], y) for y in ([0, 1], [0.1, 1.0], [0.0, 0.9]))
    svg = lines([line], "L", "x", "y", diagonal=True, points=[Point(0.2, 0.9, "here")], bands=[upper, lower])
    assert 'class="expected"' in svg
    assert ">here</text>" in svg
    assert len(re.findall("<polygon", svg)) == 1
    plain = lines([line], "L", "x", "y")
    assert "expected" not in plain
    assert "polygon" not in plain


@pytest.mark.parametrize("values", [[], [1.0], [math.nan, math.nan], [2.0, 2.0]])
def test_a_small_line_takes_any_values(values):
    ElementTree.fromstring(small_line(values, "flow"))


def test_a_small_line_shows_the_range():
    (path,) = paths_of(small_line([0.0, 10.0, 5.0], "flow"))
    assert [float(y) for y in re.findall(r" ([0-9.]+)", path)] == [44.0, 4.0, 24.0]
