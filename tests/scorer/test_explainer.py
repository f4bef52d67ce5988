"""Explanations of a trained model on unusual rows."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.columns.shapes import ImageShape
from anomaly_vae.errors import ConfigError
from anomaly_vae.scorer.explainer import _possible
from tests.support.data import make_rows


def test_a_changed_constant_is_blamed_and_its_only_value_expected(scorer):
    row = make_rows(1, seed=8)
    row[0, 4] = 8.0
    first = scorer.explain(row, top=1)[0][0]
    assert (first.column, first.value, first.low, first.high, first.is_novel) == ("unit", 8.0, 7.0, 7.0, True)
    assert first.text.startswith("unit 8 (never in training): expected 7 given the rest")


def test_fewer_columns_than_asked_for_and_none(scorer):
    row = make_rows(1, seed=8)
    row[0, 1:] = np.nan
    assert [len(found) for found in scorer.explain(row, top=5)] == [1]
    assert scorer.explain(np.full((1, 5), np.nan)) == [[]]
    assert scorer.explain(make_rows(1)[:0]) == []


@pytest.mark.parametrize("top", [0, -1, 2.5, True])
def test_a_wrong_number_is_refused(scorer, top):
    with pytest.raises(ConfigError, match="top must be a whole number from 1"):
        scorer.explain(make_rows(1), top=top)


def test_progress_counts_the_rows(scorer, monkeypatch):
    monkeypatch.setattr("anomaly_vae.scorer.explainer._MOST_LOOKS", 10)
    counts = []
    found = scorer.explain_rows(make_rows(5), top=1, on_rows=counts.append)
    assert counts == [2, 2, 1]
    assert len(found) == 5


@pytest.mark.parametrize(("value", "shown"), [(-61.0, 0.0), (12.5, 12.5), (301.0, 255.0), (None, None)])
def test_expected_pixels_are_values_that_a_file_can_hold(value, shown):
    assert _possible(ImageShape(height=2, width=2), value) == shown
    for other in (None, ImageShape(height=2, width=2, depth="float", low=0.0, high=1.0)):
        assert _possible(other, value) == value


def test_the_range_of_a_pixel_lies_among_its_values(picture_scorer):
    shape = picture_scorer.schema.shape
    image = np.full((1, *shape.sizes), shape.high)
    found = picture_scorer.explain(image, top=8)[0]
    assert all(shape.low <= each.low <= each.middle <= each.high <= shape.high for each in found)
