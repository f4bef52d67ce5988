"""The scores of some steps are those that the whole series gives them."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.cli.step_quality import scores_of_steps
from anomaly_vae.series.grid import make_panel
from anomaly_vae.series.scoring import score_panel
from tests.support.windows import FakeScorer, window_schema


@pytest.mark.parametrize("length", [2, 5])
def test_scores_of_some_steps_are_the_step_scores_of_all(length):
    rng = np.random.default_rng(length)
    times = np.concatenate([np.arange(20.0), np.arange(24.0, 60.0), np.arange(30.0)])
    panel = make_panel(rng.normal(size=(86, 2)), times, ["a"] * 56 + ["b"] * 30)
    scorer = FakeScorer(window_schema(length, ("x", "y")))
    expected = score_panel(scorer.score_rows, panel, length).step_score
    wanted = rng.random(86) < 0.2
    wanted[[0, 19, 20, 55, 56, 85]] = True  # both ends of every segment
    scorer.rows.clear()
    found = scores_of_steps(lambda rows: scorer.score_rows(rows).score, panel, length, wanted)
    np.testing.assert_array_equal(found[wanted], expected[wanted])
    assert np.isnan(found[~wanted]).all()
    assert len(scorer.rows) < len(panel.values)


def test_steps_that_no_window_covers_have_no_score():
    panel = make_panel(np.arange(3.0)[:, None])
    found = scores_of_steps(lambda rows: rows[:, 0], panel, 5, np.ones(3, dtype=bool))
    assert np.isnan(found).all()
