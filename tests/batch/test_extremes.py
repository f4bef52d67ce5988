"""The most and the least likely rows of many batches."""

from __future__ import annotations

import numpy as np

from anomaly_vae.batch.extremes import Extremes
from tests.support.served import scores_of


def test_the_extremes_of_batches_are_those_of_all_rows():
    """At most twice the count is held; a tie goes by number."""
    scores = scores_of(500, seed=3)
    scores.score[:] = np.round(scores.score, 1)
    rows, found = np.arange(1000.0).reshape(500, 2), Extremes(7)
    for start in range(0, 500, 60):
        part = slice(start, start + 60)
        numbers = list(range(start, min(start + 60, 500)))
        found.add(numbers, rows[part], scores[part])
        assert len(found) <= 14
    order = np.lexsort((np.arange(500), scores.score))
    expected = [*order[:7].tolist(), *order[-7:].tolist()]
    assert found.numbers == expected
    np.testing.assert_array_equal(found.rows, rows[expected])
    np.testing.assert_array_equal(found.scores.log_px, scores.log_px[expected])


def test_few_rows_are_all_held_and_none_is_nothing():
    found = Extremes(3)
    found.add([], np.empty((0, 2)), scores_of(0))
    assert len(found) == 0
    found.add([4, 5], np.zeros((2, 2)), scores_of(2))
    assert sorted(found.numbers) == [4, 5]
