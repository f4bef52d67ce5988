"""The pictures of one anomalous row."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from anomaly_vae.pages.records import Blame, WorstRow
from anomaly_vae.pages.worst import shown_row
from tests.pages.test_pixels import read


def row(**values):
    return WorstRow(name="7", p_value=0.01, score=-5.0, std_error=0.1, is_anomaly=True, **values)


def test_a_row_of_a_table_has_bars_and_ranges():
    blame = [Blame("amount", "amount 200", 41.0, 0.5, 200.0, 0.0, 50.0, 100.0), Blame("city", "city 'X'", 3.0)]
    shown = shown_row(row(blame=blame), (), (0.0, 1.0))
    assert "amount" in shown.bars
    assert (shown.window, shown.pictures) == ("", [])
    assert [each.text for each in shown.reasons] == ["amount 200", "city 'X'"]
    svg = ElementTree.fromstring(shown.reasons[0].range)
    (point,) = svg.iter("circle")
    band, middle = list(svg.iter("line"))[1:]
    assert float(band.get("x1")) < float(middle.get("x1")) < float(band.get("x2")) < float(point.get("cx"))
    assert shown.reasons[1].range == "", "a text has no range"


@pytest.mark.parametrize("channels", [1, 2, 9])
def test_a_window_is_drawn_by_its_channels(channels):
    window = np.random.default_rng(0).normal(size=(10, channels))
    window[3, 0] = np.nan
    shown = shown_row(row(window=window), [f"c{c}" for c in range(channels)], (0.0, 1.0))
    paths = list(ElementTree.fromstring(shown.window).iter("path"))
    assert len(paths) == min(channels, 6)
    assert paths[0].get("d").count("M") == 2, "a gap at the missing step"


def test_a_channel_that_does_not_change_is_drawn():
    ElementTree.fromstring(shown_row(row(window=np.ones((5, 2))), ["a", "b"], (0.0, 1.0)).window)


def test_a_window_has_strips_of_surprise_below_its_lines():
    excess = np.zeros((10, 2))
    excess[4, 1] = 50.0
    window = np.random.default_rng(0).normal(size=(10, 2))
    svg = ElementTree.fromstring(shown_row(row(window=window, excess=excess), ("a", "b"), (0.0, 1.0)).strips)
    strong = [each.find("title").text for each in svg.iter("rect") if each.get("class") == "h8"]
    assert strong == ["b, step 4: 50 nats"]
    assert len(list(svg.iter("rect"))) == 20
    assert shown_row(row(window=window), ("a", "b"), (0.0, 1.0)).strips == ""


def test_cells_that_add_little_are_not_told():
    blame = [Blame(name, name, excess) for name, excess in (("a", 100.0), ("b", 3.0), ("c", 1.9), ("d", 0.5))]
    assert [each.text for each in shown_row(row(blame=blame), (), (0.0, 1.0)).reasons] == ["a", "b"]
    assert [each.text for each in shown_row(row(blame=blame[3:]), (), (0.0, 1.0)).reasons] == ["d"]


def test_an_image_stands_beside_its_reconstruction():
    shown = shown_row(row(image=np.zeros((2, 2, 1)), reconstruction=np.ones((2, 2, 1))), (), (0.0, 1.0))
    assert [caption for _, caption in shown.pictures] == ["image", "what the model makes of it"]
    excess = np.array([[[0.0, 0.0], [5.0, 5.0]]])
    shown = shown_row(row(image=np.zeros((1, 2, 2)), excess=excess), (), (0.0, 1.0))
    assert [caption for _, caption in shown.pictures] == ["image", "where it is surprising"]
    assert read(shown.pictures[1][0]).tolist() == [[0, 255]]
