"""Which cells make rows strange: the cells that are changed are to blame."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.cli.report_why import reasons_of
from anomaly_vae.explained import Why
from anomaly_vae.progress import Pace
from anomaly_vae.scorer import Scorer
from tests.support.conv_models import LENGTH, series_bundle
from tests.support.data import make_rows


def test_the_changed_column_is_to_blame(scorer):
    rows = make_rows(3, seed=8)
    rows[1, 3] += 30.0
    blame, excess = reasons_of(scorer, rows, quiet=True)
    first = blame[1][0]
    assert first.column == "temperature"
    assert first.excess == excess[1, 3] == np.nanmax(excess)
    assert first.value == rows[1, 3]
    assert first.low < first.middle < first.high < first.value
    assert "; without it, the p-value would be 0." in first.text
    assert excess.shape == (3, 5)
    assert all(each.excess > 0.0 for of_row in blame for each in of_row)


def test_the_changed_steps_of_a_window_are_surprising():
    scorer = Scorer(series_bundle())
    rows = scorer.sample(4, seed=5)
    windows = rows.reshape(4, LENGTH, 2)
    windows[2, 3, 1] += 50.0
    blame, excess = reasons_of(scorer, rows, quiet=True)
    assert excess.shape == (4, LENGTH, 2)
    assert excess[2, 2:5, 1].max() == excess.max() > 10.0
    assert blame[2][0].column.startswith("load[")


def test_progress_is_shown(scorer, capsys, monkeypatch):
    monkeypatch.setattr(Pace, "is_due", lambda *_: True)
    reasons_of(scorer, make_rows(2), quiet=False)
    assert "explaining: 100 %, 2 rows" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["unit"])
def test_a_new_value_has_no_range(scorer, text):
    rows = make_rows(1)
    rows[0, 4] = 8.0
    blame, _ = reasons_of(scorer, rows, quiet=True)
    assert [each.column for each in blame[0] if each.column == text] in ([], [text])


def test_a_text_that_training_never_had_is_shown(scorer, monkeypatch):
    new = Why(column="flow", value=None, nats=9.0, std_error=0.1, excess=9.0, is_novel=True)
    monkeypatch.setattr(Scorer, "explain_rows", lambda _, rows, **__: [[new]] * len(rows))
    rows = make_rows(2)
    found = reasons_of(scorer, rows, [{"flow": "Rome"}, {}], quiet=True).blame
    assert found[0][0].text.startswith("flow 'Rome' (never in training): expected")
    assert found[1][0].text.startswith("flow has a value that training never had")
