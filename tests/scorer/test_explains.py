"""Explanations of trained models: what scorers promise."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from anomaly_vae.explained import Why
from tests.support.data import make_rows


@pytest.fixture(scope="module")
def soiled():
    """Normal rows, each with one wrong cell, and the columns of these."""
    rows = make_rows(12, seed=5)
    columns = np.tile([0, 1, 3], 4)
    rows[np.arange(12), columns] = np.tile([1.08e5, 0.013, 45.0], 4)
    return rows, columns


def test_the_wrong_cell_is_first_with_what_was_expected_there(scorer, soiled):
    rows, columns = soiled
    scores = scorer.score(rows)
    assert scores.is_anomaly.all()
    for row, column, found, score in zip(rows, columns, scorer.explain(rows), scores, strict=True):
        first = found[0]
        assert (first.column, first.value) == (scorer.schema.names[column], row[column])
        assert len(found) == 3
        assert first.low < first.middle < first.high
        assert not first.low <= row[column] <= first.high
        assert first.excess > 5.0
        assert first.p_value_without > score.p_value
        assert first.excess == max(each.excess for each in found)
        np.testing.assert_allclose(
            first.nats, scorer.score(with_missing(row, column)).log_px[0] - score.log_px, atol=0.7
        )


def with_missing(row, column):
    rest = row[None].copy()
    rest[0, column] = np.nan
    return rest


def test_the_same_row_gets_the_same_explanation_in_any_batch(scorer, soiled):
    rows, _ = soiled
    together = scorer.explain(rows)
    assert repr([scorer.explain(row[None])[0] for row in rows]) == repr(together)  # NaN is not equal to itself
    order = np.random.default_rng(0).permutation(len(rows))
    assert repr(scorer.explain(rows[order])) == repr([together[n] for n in order])
    assert repr(scorer.explain(pd.DataFrame(rows, columns=scorer.schema.names))) == repr(together)


def test_wrong_pixels_are_surprising_and_the_heat_map_shows_it(picture_scorer):
    shape = picture_scorer.schema.shape
    image = picture_scorer.sample(1, seed=1).reshape(1, *shape.sizes)
    candidates = np.repeat(image, 3, axis=0)
    candidates[:, :2, :2] = np.array([shape.low, shape.low + 100.0, shape.high]).reshape(3, 1, 1, 1)
    soiled = candidates[[picture_scorer.score(candidates).log_px.argmin()]]
    before, after = picture_scorer.heat_map(image), picture_scorer.heat_map(soiled)
    assert after.shape == image.shape
    assert after[0, :2, :2].sum() > before[0, :2, :2].sum() + 3.0
    found = picture_scorer.explain(soiled, top=2)[0]
    assert len(found) == 2
    assert all(isinstance(each, Why) and each.cell in picture_scorer.schema.column_names for each in found)
