"""The order of rows, and AUROC, average precision and recall of it, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from anomaly_vae.assessment.ranking import (
    auroc,
    average_precision,
    average_ranks,
    count_levels,
    detection_quality,
    levels_of,
    order_columns,
    recall_at,
)
from tests.support.assessed import judged_of, scores_of


@pytest.fixture(params=[1000.0, 3.0], ids=["few ties", "many ties"])
def ranked(request):
    """Badness with ties, and labels that depend on it."""
    rng = np.random.default_rng(0)
    badness = np.round(rng.normal(size=400) * request.param)
    labels = rng.random(400) < 1 / (1 + np.exp(2 - badness / request.param))
    return badness, labels


def test_figures_are_those_of_scikit_learn(ranked):
    badness, labels = ranked
    counts = count_levels(levels_of(-badness[:, None]), labels)
    assert auroc(counts) == pytest.approx(roc_auc_score(labels, badness), abs=1e-12)
    assert average_precision(counts) == pytest.approx(average_precision_score(labels, badness), abs=1e-12)
    false_rate, recall, _ = roc_curve(labels, badness, drop_intermediate=False)
    for rate in (0.001, 0.05, 0.3, 1.0):
        assert recall_at(counts, np.array([rate]))[0] == pytest.approx(recall[false_rate <= rate + 1e-12].max())


def test_the_share_of_a_rate_is_not_lost_by_rounding():
    """0.3 of 10 normal rows are 3 rows, although 0.3 * 10 may be below 3 in floating point: 0.29999... * 10."""
    labels = np.array([False] * 3 + [True] + [False] * 7)
    counts = count_levels(np.arange(11), labels)
    np.testing.assert_array_equal(recall_at(counts, np.array([0.29, 0.1 + 0.2 - 1e-16, 0.3])), [0.0, 1.0, 1.0])


def test_low_scores_mark_anomalies():
    """3 of the 4 pairs are in the right order; the anomalies rank 1st and 3rd of 4."""
    quality = detection_quality(np.array([3.0, 1.0]), np.array([0.0, 2.0]))
    assert quality.auroc == pytest.approx(0.75)
    assert quality.average_precision == pytest.approx((1 / 1 + 2 / 3) / 2)


def test_without_rows_of_both_classes_there_is_no_figure():
    for labels in (np.zeros(3, dtype=bool), np.ones(3, dtype=bool)):
        assert np.isnan(auroc(count_levels(np.arange(3), labels)))
    assert np.isnan(average_precision(count_levels(np.arange(3), np.zeros(3, dtype=bool))))
    assert np.isnan(auroc(count_levels(np.arange(0), np.zeros(0, dtype=bool))))


def test_rows_that_rank_lowest_come_first_then_p_values_then_scores():
    scores = scores_of(p_value=[0.5, 0.5, 0.1, 0.9], score=[2.0, 1.0, 9.0, 9.0])
    lowest = np.array([False, False, False, True])
    levels = levels_of(order_columns(scores, lowest, (0.0, None)))
    np.testing.assert_array_equal(levels, [3, 2, 1, 0])


def test_with_two_thresholds_the_distance_beyond_the_nearer_one_decides():
    scores = scores_of(p_value=[0.1, 0.1, 0.1], score=[-1.0, 5.0, 12.0])
    np.testing.assert_array_equal(levels_of(order_columns(scores, np.zeros(3, dtype=bool), (0.0, 10.0))), [1, 2, 0])


def test_average_ranks_are_those_of_scipy():
    values = np.array([3.0, 1.0, 3.0, 2.0, 2.0, 2.0])
    np.testing.assert_array_equal(average_ranks(values), rankdata(values))


def test_scores_without_p_values_cannot_be_assessed():
    judged = judged_of([0.1])
    bare = judged._replace(scores=scores_of(p_value=None, score=[0.0], is_anomaly=None))
    for use in (lambda: bare.p_value, lambda: bare.flags):
        with pytest.raises(ValueError, match="cannot be assessed"):
            use()


def test_rows_of_the_score_minus_infinity_share_a_level():
    assert levels_of(np.array([[-np.inf], [0.0], [-np.inf], [np.inf], [np.inf]])).tolist() == [0, 1, 0, 2, 2]
    assert detection_quality(np.array([-np.inf, 1.0]), np.array([-np.inf, -np.inf])).auroc == 0.75
