"""The conformal guarantee, and the equivalence of flag, threshold and p-value."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import betabinom

from anomaly_vae.bundle.decision_rule import DecisionRule
from anomaly_vae.calibration import (
    calibrate,
    conformal_p_value,
    margins,
    normality,
    rank,
    rank_from_top,
    threshold_rank,
    usable_rank,
)

scores_with_ties = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=40)


many_with_ties = st.lists(st.integers(-4, 4).map(float), min_size=2, max_size=40)


@given(scores_with_ties, scores_with_ties, st.integers(0, 5), st.floats(0.01, 0.9))
def test_flag_threshold_and_p_value_are_equivalent(calibration, new, num_novel, alpha):
    """Score below the k-th smallest, rank below k, p <= k/(n + 1): the same rows, also with ties and lowest rows."""
    finite = np.array(calibration)
    num_novel = min(num_novel, usable_rank(len(finite), alpha) - 1)
    lowest = np.repeat([False, True], [len(finite), num_novel])
    record, kept = calibrate(np.concatenate([finite, np.full(num_novel, 7.0)]), lowest, alpha)
    n, k = record.num_rows, record.rank
    scores = np.array([*new, -np.inf])
    ranks = rank(kept, num_novel, scores)
    p = conformal_p_value(ranks, n)
    assert np.all((p > 0) & (p <= 1))
    np.testing.assert_array_equal(ranks < k, scores < record.threshold)
    np.testing.assert_array_equal(ranks < k, p <= k / (n + 1) + 1e-12)
    assert record.threshold in finite
    assert p[-1] == (1 + num_novel) / (n + 1)
    assert ranks[-1] < k


def test_false_positive_count_follows_its_law():
    """Over calibration sets the number of flags among m new rows is beta-binomial (m, k, n + 1 - k)."""
    rng = np.random.default_rng(0)
    n, m, alpha, runs = 200, 300, 0.05, 3000
    k = threshold_rank(n, alpha)
    thresholds = np.sort(rng.normal(size=(runs, n)), axis=1)[:, k - 1]
    flags = (rng.normal(size=(runs, m)) < thresholds[:, None]).sum(axis=1)
    law = betabinom(m, k, n + 1 - k)
    assert abs(flags.mean() - law.mean()) < 4 * law.std() / np.sqrt(runs)
    assert abs(np.mean(flags <= law.median()) - law.cdf(law.median())) < 0.04


@given(many_with_ties, scores_with_ties, st.integers(0, 5), st.floats(0.01, 0.99))
def test_flags_thresholds_and_p_values_of_two_sides_are_equivalent(calibration, new, num_novel, alpha):
    """Also with ties and lowest rows, to the last bit. The ranks are counted here one by one."""
    finite = np.array(calibration)
    num_novel = min(num_novel, usable_rank(len(finite), alpha, tail="both") - 1)
    lowest = np.repeat([False, True], [len(finite), num_novel])
    record, kept = calibrate(np.concatenate([finite, np.full(num_novel, 7.0)]), lowest, alpha, tail="both")
    n, k, scores = record.num_rows, record.rank, np.array([*new, -np.inf])
    everything = np.concatenate([finite, np.full(num_novel, -np.inf)])
    below = [1 + int((everything <= s).sum()) for s in scores]
    above = [1 + int((everything >= s).sum()) for s in scores]
    expected = [min(1.0, 2 * min(a, b) / (n + 1)) for a, b in zip(below, above, strict=True)]
    ranks = np.minimum(rank(kept, num_novel, scores), rank_from_top(kept, num_novel, scores))
    p = conformal_p_value(ranks, n, "both")
    np.testing.assert_array_equal(p, expected)
    is_beyond = (scores < record.threshold) | (scores > record.upper_threshold)
    np.testing.assert_array_equal(p <= record.effective_fpr, is_beyond)
    np.testing.assert_array_equal(ranks < k, is_beyond)
    np.testing.assert_array_equal(margins(scores, record.threshold, record.upper_threshold) < 0.0, is_beyond)
    assert record.effective_fpr == 2 * k / (n + 1) < 1.0
    assert record.threshold <= record.upper_threshold
    assert is_beyond[-1]
    assert p[-1] == 2 * (1 + num_novel) / (n + 1)


def test_ranks_from_the_top_count_the_rows_that_rank_below_all_others_only_for_their_like():
    known = np.array([1.0, 2.0, 2.0])
    ranks = rank_from_top(known, 4, np.array([-np.inf, 0.0, 1.0, 2.0, 2.5]))
    np.testing.assert_array_equal(ranks, [7, 3, 3, 2, 0])


def test_normality_orders_by_score_and_with_two_thresholds_by_the_nearer_one():
    scores = np.array([-1.0, 0.0, 5.0, 9.0, 12.0])
    assert normality(scores, 0.0, None) is scores
    np.testing.assert_array_equal(normality(scores, 0.0, 10.0), [-1.0, 0.0, 5.0, 1.0, -2.0])
    np.testing.assert_array_equal(margins(scores, 1.0, None), scores - 1.0)


@pytest.mark.parametrize("tail", ["low", "both"])
@pytest.mark.parametrize("dependence", [-1.0, 0.0, 1.0])
def test_with_a_contrast_p_values_are_valid_whatever_the_dependence_of_the_two(tail, dependence):
    """P(p <= alpha) <= alpha, for equal, opposite and independent scores; 10,000 calibration sets of 39 rows."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(10_000, 40))
    contrast = dependence * scores + (1.0 - abs(dependence)) * rng.normal(size=scores.shape)
    new, new_contrast = scores[:, -1:], contrast[:, -1:]
    low, high = ((scores[:, :-1] <= new).sum(axis=1), (scores[:, :-1] >= new).sum(axis=1))
    of_score = 2 * (1 + np.minimum(low, high)) if tail == "both" else 1 + low
    of_contrast = 1 + (contrast[:, :-1] <= new_contrast).sum(axis=1)
    p_values = np.minimum(2.0 * np.minimum(of_score, of_contrast) / 40.0, 1.0)
    for alpha in (0.1, 0.2, 0.5):
        assert (p_values <= alpha).mean() <= alpha + 4.0 * np.sqrt(alpha * (1.0 - alpha) / 10_000)
    for i in range(20):  # the formula above is that of the rule
        record, kept = calibrate(scores[i, :-1], np.zeros(39, bool), 0.2, tail=tail, contrast=contrast[i, :-1])
        rule = DecisionRule(record, kept, contrast=np.sort(contrast[i, :-1]))
        ranks = rule.ranks(new[i]), rule.contrast_ranks(new_contrast[i])
        assert rule.p_values(*ranks)[0] == pytest.approx(p_values[i])
        assert rule.flags(*ranks)[0] == (p_values[i] <= record.effective_fpr)
