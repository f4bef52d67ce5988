"""Heat maps: the strongest colour is the largest value."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np

from anomaly_vae.pages.heat import heat_map


def test_cells_have_the_colours_of_their_values():
    values = np.array([[0.0, 9.0], [-3.0, np.nan]])
    svg = heat_map(values, ["1", "2"], ["amount", "x" * 40], "Heat", "nats")
    cells = [each for each in ElementTree.fromstring(svg).iter("rect") if each.find("title") is not None]
    assert [each.get("class") for each in cells] == ["h0", "h8", "h0", "none"]
    assert cells[1].find("title").text == f"1, {'x' * 40}: 9 nats"
    assert ElementTree.fromstring(svg).get("width") == "300"
    assert "x" * 12 + "…xxxxx" in svg
    assert "9 nats" in svg


def test_a_map_without_values_is_empty():
    ElementTree.fromstring(heat_map(np.empty((0, 2)), [], ["a", "b"], "Heat", "nats"))


def test_colours_are_logarithmic_and_small_values_are_pale():
    """A cell with a hundredth of the largest value can be seen; one below the noise of usual rows cannot."""
    svg = heat_map(np.array([[1e4, 99.0, 0.1]]), ["1"], ["a", "b", "c"], "Heat", "nats")
    cells = [each for each in ElementTree.fromstring(svg).iter("rect") if each.find("title") is not None]
    assert [each.get("class") for each in cells] == ["h8", "h4", "h0"]
    pale = heat_map(np.array([[0.02, 0.0]]), ["1"], ["a", "b"], "Heat", "nats")
    assert pale.count('class="h0"') == 3, "two cells and the legend"
