"""Elements of SVG: well-formed, escaped and with a title."""

from __future__ import annotations

from xml.etree import ElementTree

from markupsafe import Markup

from anomaly_vae.pages.svg import chart, label, tag
from tests.support.hostile_texts import HOSTILE


def test_texts_and_attributes_are_escaped():
    for text in HOSTILE:
        element = ElementTree.fromstring(tag("text", text, x=1.0, data_name=text))
        assert element.tag == "text"
        assert len(element) == 0
        assert set(element.attrib) == {"x", "data-name"}


def test_markup_is_taken_as_it_is_and_none_is_left_out():
    assert tag("g", tag("rect", x=1.25, width=3.0, rx=None), class_="a") == Markup(
        '<g class="a"><rect x="1.2" width="3"></rect></g>'
    )


def test_a_long_label_is_cut_and_keeps_its_whole_text_in_a_title():
    element = ElementTree.fromstring(label("x" * 100, 1, 2))
    assert len(element.text) == 60
    assert element.find("title").text == "x" * 100
    assert ElementTree.fromstring(label("short", 1, 2)).find("title") is None


def test_a_chart_has_a_title_and_a_role():
    element = ElementTree.fromstring(chart("Scores", tag("rect", x=0.0)))
    assert element.find("title").text == "Scores"
    assert element.attrib == {"viewBox": "0 0 400 250", "role": "img", "class": "chart"}
