"""Maps: a point for each row, rings around anomalies."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from anomaly_vae.pages.scatter import scatter


def circles_of(svg):
    return [each.attrib for each in ElementTree.fromstring(svg).iter("circle")]


def test_points_have_places_colours_and_rings():
    points, values = np.array([[0.0, 0.0], [1.0, 2.0], [0.5, 1.0]]), np.array([1.0, 0.0, 0.5])
    marked, behind = np.array([False, True, False]), np.array([[0.2, 0.2]])
    svg = scatter(points, values, "Map", "x", "y", value_title="score", is_marked=marked, background=behind)
    circles = circles_of(svg)
    assert [each["class"] for each in circles] == ["behind", "s8", "s4", "s0 ring"], "low values are drawn last"
    assert float(circles[1]["cx"]) < float(circles[2]["cx"]) < float(circles[3]["cx"])
    assert float(circles[1]["cy"]) > float(circles[3]["cy"])


def test_points_beyond_the_limits_lie_on_the_edge():
    limits = np.array([[0.0, 0.0], [1.0, 1.0]])
    svg = scatter(np.array([[0.5, 0.5], [1e6, 0.5]]), np.zeros(2), "Map", "x", "y", value_title="s", limits=limits)
    places = [float(each["cx"]) for each in circles_of(svg)]
    assert places == [pytest.approx(220, abs=1), pytest.approx(388, abs=1)]


@pytest.mark.parametrize("count", [0, 1])
def test_few_points_are_a_map_too(count):
    svg = scatter(np.zeros((count, 2)), np.full(count, np.nan), "Map", "x", "y", value_title="score")
    assert len(circles_of(svg)) == count
