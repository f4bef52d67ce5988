"""Scores of windows at the rows where they end."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from anomaly_vae.series.results import SeriesRow, SeriesScores, place_scores
from tests.support.windows import FakeScorer, window_schema

SCORER = FakeScorer(window_schema(2))


def placed(*, calibrated=True):
    """Two windows that end at rows 3 and 1 of 5."""
    scores = FakeScorer(SCORER.schema, calibrated=calibrated).score_rows(np.array([[1.0, 2.0], [3.0, 4.0]]))
    scores = replace(scores, model_version="3", bundle_digest="abc")
    reasons = ["no time", "x", None, "y", "gap"]
    return scores, place_scores(scores, np.array([3, 1]), reasons, np.array([1.0, 2.0, np.nan, 4.0, 5.0]))


def test_every_field_is_at_its_row():
    scores, found = placed()
    assert isinstance(found, SeriesScores)
    assert found.has_window.tolist() == [False, True, False, True, False]
    assert found.contrast is None
    assert (found.model_version, found.bundle_digest) == (scores.model_version, scores.bundle_digest) == ("3", "abc")
    for field in fields(scores):
        if field.name in ("contrast", "model_version", "bundle_digest"):
            continue
        values = getattr(found, field.name)
        assert [values[3], values[1]] == pytest.approx(list(getattr(scores, field.name)), nan_ok=True)
    assert found.reason == ["no time", scores.reason[1], None, scores.reason[0], "gap"]
    assert np.isnan(found.p_value[[0, 2, 4]]).all()
    assert found.is_anomaly.dtype == found.reliable.dtype == bool
    assert not (found.is_anomaly | found.reliable)[[0, 2, 4]].any()
    assert found.num_samples.tolist() == [0, 64, 0, 64, 0]


def test_rows_are_taken_like_those_of_tables():
    _, found = placed()
    assert isinstance(found[1], SeriesRow)
    assert (found[1].step_score, found[1].score) == (2.0, found.score[1])
    assert type(found[found.has_window]) is SeriesScores
    assert found[1:3].step_score.tolist() == pytest.approx([2.0, np.nan], nan_ok=True)
    assert "step_score" in repr(found)


def test_tables_hold_nulls_where_there_is_no_window():
    _, found = placed()
    frame = found.to_pandas()
    assert frame["is_anomaly"].isna().tolist() == frame["reliable"].isna().tolist() == [True, False, True, False, True]
    assert frame["is_anomaly"].dtype == frame["reliable"].dtype == "boolean"
    assert frame["step_score"].tolist() == pytest.approx(found.step_score.tolist(), nan_ok=True)
    table = found.to_arrow()
    assert str(table.schema.field("is_anomaly").type) == str(table.schema.field("reliable").type) == "bool"
    for name in ("log_px", "p_value", "is_anomaly", "reliable"):
        assert [value is None for value in table[name].to_pylist()] == [True, False, True, False, True]
    assert table["step_score"].null_count == 1
    polars = found.to_polars()
    for name in table.column_names:
        if name != "pareto_k":
            assert polars[name].to_list() == table[name].to_pylist()
    whole = found[found.has_window]
    assert whole.to_pandas()["is_anomaly"].dtype == bool


def test_without_p_values_there_are_none():
    _, found = placed(calibrated=False)
    assert found.p_value is None
    assert found.is_anomaly is None
    assert found.to_arrow()["is_anomaly"].null_count == 5
    assert found.to_pandas()["is_anomaly"].isna().all()
    nothing = found[[0, 2]]
    assert nothing.to_polars()["reliable"].to_list() == [None, None]
