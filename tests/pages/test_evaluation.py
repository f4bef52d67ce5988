"""The page of an evaluation: figures, curves, parts; hostile texts stay texts."""

from __future__ import annotations

import pytest

from anomaly_vae.assessment.curves import Curve
from anomaly_vae.pages.evaluation import _within, evaluation_page
from tests.pages.test_report import Elements
from tests.support.evaluations import full_evaluation
from tests.support.hostile_texts import HOSTILE


def test_every_part_is_shown():
    found = full_evaluation()
    page = Elements(evaluation_page(found, "model", "lab.csv", ["3 rows could not be used."]))
    assert page.found.count("svg") == 3 + 2, "curves, and the parts by two columns"
    for part in (
        "model on lab.csv",
        "340",
        f"{found.auroc.value:.4f}",
        f"AUROC, {found.auroc.low:.4f} to {found.auroc.high:.4f}; by chance 0.5",
        found.verdict.text,
        "0.1 %: x",
        "3 rows could not be used.",
        "(few)",
        "(the model's)",
        "By x",
        "normal rows",
    ):
        assert part in page.text, part


def test_with_one_label_there_are_no_curves():
    page = Elements(evaluation_page(full_evaluation(anomalies=0), "model", "lab.csv"))
    assert "nothing can be ranked" in page.text
    assert page.found.count("svg") == 2
    assert 'href="#ranking"' not in evaluation_page(full_evaluation(anomalies=0), "model", "lab.csv")


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_change_no_element(text):
    expected = Elements(evaluation_page(full_evaluation("name"), "name", "name", ["name"])).found
    found = Elements(evaluation_page(full_evaluation(text), text, text, [text])).found
    assert [tag for tag in found if tag != "title"] == [tag for tag in expected if tag != "title"]


def test_a_part_of_a_curve_ends_on_it():
    line = _within(Curve(x=(0.0, 0.05, 0.2, 1.0), y=(0.0, 0.5, 0.8, 1.0)), 0.1)
    assert line.x == [0.0, 0.05, 0.1]
    assert line.y == pytest.approx([0.0, 0.5, 0.6])
