"""What explanations know of a row: its score, refined by more samples."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.scorer import known
from anomaly_vae.scorer.known import Known, known_of
from tests.support.exact_models import estimator_of, wrong_encoder
from tests.support.judges import judge_of


@pytest.fixture(scope="module")
def exact():
    log_px, vae, rows = wrong_encoder()
    return log_px[:60], judge_of(estimator_of(vae, points=64), threshold=np.median(log_px)), rows[:60]


def test_log_p_is_nearer_to_the_truth_than_the_score_and_says_so(exact):
    log_px, judge, rows = exact
    found, scores = known_of(judge, rows), judge.scores(rows, None)
    assert np.abs(found.log_px - log_px).max() < 0.02
    assert found.std_error.mean() < 0.7 * scores.std_error.mean()
    assert np.all(found.std_error <= scores.std_error)
    np.testing.assert_array_equal(found.is_anomaly, scores.is_anomaly)
    np.testing.assert_array_equal(found.p_value, scores.p_value)
    assert 0 < found.is_anomaly.sum() < len(rows)


def test_the_score_stands_where_the_samples_contradict_it(exact):
    _, judge, rows = exact
    scores = judge.scores(rows, None)
    wrong = judge_of(judge.estimator)
    wrong.scores = lambda rows, options: judge.scores(rows, options).__class__(
        **vars(scores) | {"log_px": scores.log_px - 5.0, "std_error": np.full(len(rows), 0.5)}
    )
    found = known_of(wrong, rows)
    np.testing.assert_array_equal(found.log_px, scores.log_px - 5.0)
    np.testing.assert_array_equal(found.std_error, 0.5)


def test_samples_that_miss_some_of_log_p_are_drawn_again_after_a_thorough_search(exact, monkeypatch):
    _, judge, rows = exact
    calls = []
    draw = judge.estimator.posterior_samples

    def counted(rows, num_points, *, thorough=False):
        calls.append((len(rows), thorough))
        return draw(rows, num_points, thorough=thorough)

    monkeypatch.setattr(judge.estimator, "posterior_samples", counted)
    known_of(judge, rows)
    assert calls == [(60, False)]
    monkeypatch.setattr(known, "_MISSED", -1000.0)
    known_of(judge, rows)
    assert calls[1:] == [(60, False), (60, True)]


def test_what_is_known_of_one_row():
    whole = Known(np.arange(3.0), np.arange(3.0) + 10, np.array([0.1, 0.2, 0.3]), np.array([True, False, True]), [])
    one = whole.row(1)
    assert [values.tolist() for values in one[:4]] == [[1.0], [11.0], [0.2], [False]]
    assert one.samples == []
