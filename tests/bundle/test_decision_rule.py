"""What decides: thresholds, ranks, p-values and flags of one rule agree, for both tails and every target."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly_vae.bundle.decision_rule import DecisionRule
from anomaly_vae.calibration import calibrate
from anomaly_vae.errors import ConfigError

TAILS = st.sampled_from(["low", "both"])
values = st.integers(-4, 4).map(float)


@given(
    st.lists(values, min_size=2, max_size=40),
    st.lists(values, max_size=20),
    st.integers(0, 4),
    TAILS,
    st.one_of(st.none(), TAILS),
    st.floats(0.01, 0.99),
    st.one_of(st.none(), st.floats(0.01, 0.99)),
)
def test_a_row_is_flagged_exactly_if_its_p_value_is_at_most_the_effective_target(
    calibration, new, num_novel, tail, other_tail, alpha, other_alpha
):
    """Also for another tail and another target, with ties and with rows that rank below all others."""
    num_novel = min(num_novel, calibrated(calibration, alpha, tail)[0].rank - 1)
    record, kept = calibrated(calibration + [0.0] * num_novel, alpha, tail, num_novel)
    try:
        rule = DecisionRule(record, kept, other_alpha, other_tail)
    except ConfigError:
        assert other_alpha is not None or other_tail not in (None, tail)
        return
    scores = np.array([*new, rule.neutral_score, -np.inf])
    ranks = rule.ranks(scores)
    flags = rule.flags(ranks)
    np.testing.assert_array_equal(flags, rule.p_values(ranks) <= rule.effective_fpr)
    high = np.inf if rule.upper_threshold is None else rule.upper_threshold
    np.testing.assert_array_equal(flags, (scores < rule.threshold) | (scores > high))
    assert flags[-2:].tolist() == [False, True]
    assert rule.p_values(ranks)[-2] == 1.0
    assert (rule.upper_threshold is None) == (rule.tail == "low")
    np.testing.assert_array_equal(rule.flags(rule.ranks(rule.below_all(scores[:-1]))), True)


def calibrated(scores, alpha, tail, num_novel=0):
    lowest = np.arange(len(scores)) >= len(scores) - num_novel
    return calibrate(np.array(scores), lowest, alpha, tail=tail)


def test_by_default_a_rule_is_that_of_the_calibration_even_with_too_few_rows():
    record, kept = calibrated([1.0, 2.0, 3.0, 4.0], 0.01, "both")
    rule = DecisionRule(record, kept)
    assert (rule.tail, rule.rank, rule.threshold, rule.upper_threshold) == ("both", 1, 1.0, 4.0)
    assert rule.effective_fpr == record.effective_fpr == 0.4
    with pytest.raises(ConfigError, match=r"target_fpr 0\.01 needs at least 99 calibration rows"):
        DecisionRule(record, kept, tail="low")
    assert DecisionRule(record, kept, 0.8).rank == 2
    low = DecisionRule(record, kept, 0.8, "low")
    assert (low.rank, low.threshold, low.upper_threshold) == (4, 4.0, None)


@given(
    st.lists(st.tuples(values, values), min_size=4, max_size=40),
    st.lists(st.tuples(values, values), max_size=20),
    TAILS,
    st.one_of(st.none(), TAILS),
    st.floats(0.01, 0.99),
    st.one_of(st.none(), st.floats(0.01, 0.99)),
    st.one_of(st.none(), st.floats(0.05, 0.95)),
)
def test_with_a_contrast_a_row_is_flagged_exactly_if_its_p_value_is_at_most_the_effective_target(
    calibration, new, tail, other_tail, alpha, other_alpha, confidence
):
    """The p-value is twice the smaller one of the two: min(1, 2 min(p, p_c)), with ties and any tail and target."""
    scores, contrast = np.array(calibration).T
    n = len(scores)
    record, kept = calibrate(scores, np.zeros(n, bool), alpha, confidence, tail, contrast)
    try:
        rule = DecisionRule(record, kept, other_alpha, other_tail, np.sort(contrast))
    except ConfigError:
        assert other_alpha is not None or other_tail not in (None, tail)
        return
    new_scores, new_contrast = np.array([*new, (rule.neutral_score, np.inf), (0.0, -np.inf)]).T
    ranks, contrast_ranks = rule.ranks(new_scores), rule.contrast_ranks(new_contrast)
    flags, p_values = rule.flags(ranks, contrast_ranks), rule.p_values(ranks, contrast_ranks)
    np.testing.assert_array_equal(flags, p_values <= rule.effective_fpr)
    high = np.inf if rule.upper_threshold is None else rule.upper_threshold
    beyond = (new_scores < rule.threshold) | (new_scores > high)
    np.testing.assert_array_equal(flags, beyond | (new_contrast < rule.contrast_threshold))
    of_contrast = (1 + (contrast <= new_contrast[:, None]).sum(axis=1)) / (n + 1)
    np.testing.assert_allclose(p_values, np.minimum(2.0 * np.minimum(rule.p_values(ranks), of_contrast), 1.0))
    assert flags[-2:].tolist() == [False, True]
    assert p_values[-2] == 1.0
    assert rule.effective_fpr <= max(other_alpha or alpha, 4 / (n + 1)) + 1e-9


def test_without_a_contrast_there_are_no_ranks_of_it():
    record, kept = calibrated([1.0, 2.0, 3.0], 0.5, "low")
    rule = DecisionRule(record, kept)
    assert rule.contrast_ranks(np.zeros(2)) is None
    assert (rule.contrast_rank, rule.contrast_threshold) == (None, None)
