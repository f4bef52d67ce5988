"""The page of a report: every part is there, and hostile texts stay texts."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from anomaly_vae.pages.histogram import Mark
from anomaly_vae.pages.report import _scores, report_page
from tests.support.hostile_texts import HOSTILE
from tests.support.reports import full_report

VOID = {"meta", "img", "br"}


class Elements(HTMLParser):
    """Counts elements, and checks that they are closed in order."""

    def __init__(self, page):
        super().__init__()
        self.open, self.found, self.attributes, self.text = [], [], [], ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.found.append(tag)
        self.attributes += attributes
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_change_no_element(text):
    """The page has the elements that it has with a harmless text, and no attribute that runs or loads anything."""
    expected, found = Elements(report_page(full_report("name"))), Elements(report_page(full_report(text)))
    titles = [sum(tag == "title" for tag in each.found) for each in (expected, found)]
    assert titles[0] <= titles[1], "long names have their whole text in a title"
    assert [tag for tag in found.found if tag != "title"] == [tag for tag in expected.found if tag != "title"]
    names = {name for name, _ in found.attributes}
    assert not any(name.startswith("on") for name in names)
    assert all(value.startswith("data:image/png;base64,") for name, value in found.attributes if name == "src")
    assert all(value.startswith("#") for name, value in found.attributes if name == "href")


def test_every_part_is_shown():
    page = Elements(report_page(full_report("name")))
    assert page.found.count("svg") == 7 + 3 * 2 + 2, "scores, training, map, heat; bars and range; window and strips"
    assert page.found.count("img") == 3
    for part in ("passed", "failed", "not applied", "kept: step 1,000", "threshold -2", "upper threshold 2", "flagged"):
        assert part in page.text


def test_parts_that_are_not_known_are_left_out_with_a_word():
    full = full_report()
    card = replace(full.card, curves=[], search=None, left_out=[])
    page = Elements(report_page(replace(full, input=None, card=card, notes=[])))
    assert "kept no training curves" in page.text
    assert "No column of the training data was left out" in page.text
    for part in ("p-values", "The most anomalous", "search tried", "What this page leaves out"):
        assert part not in page.text


def test_an_input_without_any_score_is_a_page_too():
    full = full_report()
    nothing = replace(full.input, p_counts=None, errors=np.empty(0), worst=[], excess=None)
    page = Elements(report_page(replace(full, input=nothing)))
    assert "p-values" not in page.text
    assert "The most anomalous" not in page.text


def test_no_bar_holds_scores_of_both_sides_of_the_threshold():
    values = np.sort(np.random.default_rng(1).normal(size=500))
    values[0] = -1e6  # lies in the first bar
    svg = _scores(values, [Mark(-1.7, "threshold")], "Scores", "score", "row")
    counts = {"bar": 0, "bar out": 0}
    for each in ElementTree.fromstring(svg).iter("rect"):
        counts[each.get("class")] += int(each.find("title").text.split(": ")[1].split()[0])
    assert counts["bar out"] == (values < -1.7).sum()
    assert sum(counts.values()) == 500


def test_the_columns_to_blame_are_those_with_the_largest_sums():
    full = full_report(columns=60)
    excess = np.zeros((3, 60))
    excess[:, 59] = 5.0
    names = [f"c{d}" for d in range(60)]
    page = report_page(replace(full, input=replace(full.input, columns=names, excess=excess)))
    assert "c59" in page
    assert "c58" not in page
