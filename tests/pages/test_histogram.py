"""Histograms: bars as high as the counts, anomalous ones marked."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from anomaly_vae.pages.histogram import Mark, histogram, small_histogram


def bars_of(svg):
    return list(ElementTree.fromstring(svg).iter("rect"))


def test_bars_are_as_high_as_the_counts_and_say_them():
    bars = bars_of(histogram([0, 1, 2, 3], [4, 0, 2], "H", "score"))
    heights = [float(bar.get("height")) for bar in bars]
    assert heights[0] == pytest.approx(2 * heights[2], abs=0.1)
    assert heights[1] == 0.0
    assert [bar.find("title").text for bar in bars] == ["0 to 1: 4 rows", "1 to 2: 0 rows", "2 to 3: 2 rows"]


def test_bars_beyond_the_thresholds_are_anomalous():
    marks = [Mark(-2.0, "low"), Mark(1.0, "high")]
    svg = histogram([-3, -2, -1, 0, 1, 2], [1, 2, 3, 2, 1], "H", "score", marks=marks)
    assert [bar.get("class") for bar in bars_of(svg)] == ["bar out", "bar", "bar", "bar", "bar out"]
    assert ">low</text>" in svg
    one = histogram([-3, -2, -1], [1, 2], "H", "score", marks=marks[:1])
    assert [bar.get("class") for bar in bars_of(one)] == ["bar out", "bar"]


def test_the_level_that_is_expected_is_a_line():
    with_level = histogram([0, 1, 2], [1, 3], "H", "p-value", level=2.0)
    assert 'class="expected"' in with_level
    assert 'class="expected"' not in histogram([0, 1, 2], [1, 3], "H", "p-value")


def test_a_small_histogram_has_no_axes():
    assert small_histogram([]) == ""
    heights = [float(height) for height in re.findall(r'<rect[^>]* height="([0-9.]+)"', small_histogram([4, 0, 2]))]
    assert heights == [28.0, 0.0, 14.0]
    assert len(bars_of(small_histogram([0, 0]))) == 2
