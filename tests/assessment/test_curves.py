"""Curves against scikit-learn, before and after thinning."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve as sklearn_precision_recall
from sklearn.metrics import roc_auc_score
from sklearn.metrics import roc_curve as sklearn_roc

from anomaly_vae.assessment.curves import MOST_POINTS, precision_recall_curve, roc_curve
from anomaly_vae.assessment.ranking import count_levels, levels_of


def example(n):
    rng = np.random.default_rng(0)
    labels = rng.random(n) < 0.1
    badness = np.round(rng.normal(size=n) + 2 * labels, 3)
    return badness, labels, count_levels(levels_of(-badness[:, None]), labels)


def test_short_curves_are_complete():
    badness, labels, counts = example(120)
    curve = roc_curve(counts)
    x, y, _ = sklearn_roc(labels, badness, drop_intermediate=False)
    np.testing.assert_allclose((curve.x, curve.y), (x, y))
    curve = precision_recall_curve(counts)
    precision, recall, _ = sklearn_precision_recall(labels, badness)
    expected = set(zip(recall.round(9), precision.round(9), strict=True))
    assert {(round(r, 9), round(p, 9)) for r, p in zip(curve.x, curve.y, strict=True)} <= expected
    assert len(curve.x) == labels.sum()


def test_long_curves_are_thinned_but_keep_their_shape():
    badness, labels, counts = example(5000)
    curve = roc_curve(counts)
    assert len(curve.x) <= MOST_POINTS
    assert (curve.x[0], curve.y[0], curve.x[-1], curve.y[-1]) == (0.0, 0.0, 1.0, 1.0)
    assert np.trapezoid(curve.y, curve.x) == pytest.approx(roc_auc_score(labels, badness), abs=0.002)
    assert sum(x <= 0.01 for x in curve.x) >= 10
    curve = precision_recall_curve(counts)
    assert len(curve.x) <= MOST_POINTS
    assert curve.x[-1] == 1.0
    assert list(curve.x) == sorted(curve.x)
