"""Two models read the same rows, each as it was trained to."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from anomaly_vae.cli import compare_jobs
from anomaly_vae.cli.compare_jobs import compare_models
from anomaly_vae.cli.schema_differences import SchemaDifferences
from anomaly_vae.columns.shapes import ImageShape
from anomaly_vae.errors import InvalidInput
from tests.support.assessed import PlainImages, judged_of, promise_for
from tests.support.data import NAMES, make_rows
from tests.support.shaped_scorers import image_schema
from tests.support.tables import csv_table

SAME = SchemaDifferences([], [])


def text_of(rows):
    return "\n".join([",".join(NAMES), *(",".join(map(repr, map(float, row))) for row in rows)]) + "\n"


class Given:
    """INPUT, opened as the model needs it."""

    path = "rows.csv"

    def __init__(self, opened):
        self._opened = opened

    def table(self, _schema):
        return self._opened

    images = table


def tables(*texts):
    return tuple(Given(csv_table(text)) for text in texts)


def test_rows_that_a_model_cannot_use_are_left_out_of_both(scorer, capsys):
    rows = make_rows(20, seed=11)
    text = text_of(rows)
    other = rows.copy()
    other[4, 1] = np.inf
    found = compare_models((scorer, scorer), tables(text, text_of(other)), SAME, shown=5, quiet=True)
    assert (found.rows, found.agreement.changed.count, found.fit.mean) == (19, 0, 0.0)
    assert "1 of 20 rows" in capsys.readouterr().err


def test_no_common_row_is_an_error(scorer):
    rows = make_rows(2, seed=11)
    texts = []
    for i in range(2):
        bad = rows.copy()
        bad[i, 1] = np.inf
        texts.append(text_of(bad))
    with pytest.raises(InvalidInput, match="no row can be used by both models"):
        compare_models((scorer, scorer), tables(*texts), SAME, shown=5, quiet=True)


def test_images_have_names_and_no_reasons(monkeypatch):
    """The flags are made up: model A flags the second image, B none."""
    schema = image_schema(ImageShape(height=2, width=2))
    flags = iter([[False, True, False, False], [False] * 4])
    monkeypatch.setattr(compare_jobs, "judge", lambda *_, **__: judged_of([0.5, 0.1, 0.5, 0.5], is_anomaly=next(flags)))
    monkeypatch.setattr(compare_jobs, "own_promise", lambda _: promise_for())
    scorers = (SimpleNamespace(schema=schema),) * 2
    inputs = tuple(Given(PlainImages(4)) for _ in scorers)
    found = compare_models(scorers, inputs, SAME, shown=5, quiet=True)
    assert [(each.row, each.name, each.flagged_by, each.why) for each in found.changed_rows] == [(2, "1", "A", ())]


def test_an_error_says_which_model_it_is_of(scorer):
    short = "\n".join(line.rpartition(",")[0] for line in text_of(make_rows(5)).splitlines())
    with pytest.raises(InvalidInput, match=f"model B: 1 of the model's .* missing: '{NAMES[-1]}'"):
        compare_models((scorer, scorer), tables(text_of(make_rows(5)), short), SAME, shown=5, quiet=True)
