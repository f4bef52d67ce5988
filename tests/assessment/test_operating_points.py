"""What thresholds flag."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.assessment.operating_points import RateOrReason, operating_point
from anomaly_vae.assessment.ranking import count_levels
from tests.support.assessed import judged_of, promise_for

# p-values of 99 calibration rows: 0.01, 0.02, ...
P_VALUES = [0.01, 0.01, 0.02, 0.05, 0.2, 0.5, 0.06, 0.9]
LABELS = np.array([True, True, False, True, True, False, False, False])


def point(rate, promise):
    judged = judged_of(P_VALUES)
    counts = count_levels(judged.levels, LABELS)
    return operating_point(RateOrReason(rate, promise, None if promise else "too few"), judged, LABELS, counts, 0.95)


def test_a_row_is_flagged_if_its_p_value_is_at_most_the_rate():
    found = point(0.05, promise_for(0.05))
    assert (found.false_positives.count, found.false_positives.total) == (1, 4)
    assert (found.recall.count, found.recall.total) == (3, 4)
    assert (found.precision.count, found.precision.total) == (3, 4)
    assert found.precision.share == pytest.approx(0.75)


def test_the_promise_may_be_lower_than_the_target():
    """With 99 calibration rows a target of 0.055 is one of 0.05."""
    assert point(0.055, promise_for(0.055)).recall == point(0.05, promise_for(0.05)).recall


def test_without_a_threshold_the_curve_still_says_what_could_be_found():
    found = point(0.001, None)
    assert (found.false_positives, found.recall, found.precision, found.reason) == (None, None, None, "too few")
    assert found.recall_on_curve == 0.5  # two anomalies come before the first normal row
    assert point(0.25, promise_for(0.25)).recall_on_curve == 0.75
