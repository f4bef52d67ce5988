"""Thresholds and p-values: exact ranks, the conformal guarantee, and the equivalence of flag, threshold and p-value."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import betabinom, binom

from anomaly_vae.calibration import (
    calibrate,
    caveats,
    conformal_p_value,
    lowest_target,
    rank,
    rank_for,
    rows_needed,
    threshold_rank,
    usable_rank,
)
from anomaly_vae.errors import ConfigError


@pytest.mark.parametrize(
    ("n", "alpha", "k"),
    [
        (99, 0.01, 1),
        (98, 0.01, 0),
        (99, 0.29, 29),
        (99, 0.07, 7),
        (999, 0.001, 1),
        (19, 0.15, 3),
        (49, 0.14, 7),
        (1, 0.5, 1),
    ],
)
def test_rank_is_exact_where_binary_floats_are_not(n, alpha, k):
    """0.29 * 100 is 28.999999999999996 in binary; the rank is that of the decimal number 0.29."""
    assert threshold_rank(n, alpha) == k


@pytest.mark.parametrize("alpha", [0.05, 0.01, 0.001, 0.3, 0.07])
def test_rows_needed_is_where_the_rank_becomes_one(alpha):
    n = rows_needed(alpha)
    assert threshold_rank(n, alpha) >= 1
    assert threshold_rank(n - 1, alpha) == 0


@pytest.mark.parametrize(("alpha", "n"), [(0.05, 59), (0.01, 299), (0.001, 2995)])
def test_rows_needed_with_confidence(alpha, n):
    """(1 - alpha)^n <= delta, for confidence 95 %."""
    assert rows_needed(alpha, 0.95) == n
    assert threshold_rank(n, alpha, 0.95) == 1
    assert threshold_rank(n - 1, alpha, 0.95) == 0


@given(st.integers(1, 3000), st.floats(0.001, 0.5), st.floats(0.5, 0.999))
def test_confident_rank_is_the_largest_that_the_binomial_allows(n, alpha, confidence):
    k = threshold_rank(n, alpha, confidence)
    tolerance = 1e-9
    if k > 0:
        assert binom.cdf(k - 1, n, alpha) <= 1 - confidence + tolerance
    if k < n:
        assert binom.cdf(k, n, alpha) > 1 - confidence - tolerance


scores_with_ties = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=40)


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


def test_the_k_th_smallest_score_is_the_threshold():
    record, kept = calibrate(np.arange(100.0)[::-1], np.zeros(100, bool), 0.05)
    assert (record.rank, record.threshold, record.effective_fpr) == (5, 4.0, 5 / 101)
    assert caveats(record) == []
    np.testing.assert_array_equal(kept, np.arange(100.0))


def test_too_few_rows_give_rank_one_and_a_warning():
    record, _ = calibrate(np.arange(10.0), np.zeros(10, bool), 0.01)
    assert (record.rank, record.threshold, record.effective_fpr) == (1, 0.0, 1 / 11)
    assert "10 calibration rows are too few for target_fpr 0.01, which needs n >= 99" in caveats(record)[0]


def test_rows_that_rank_lowest_take_the_lowest_ranks_whatever_their_scores():
    record, kept = calibrate(np.arange(100.0), np.arange(100) >= 97, 0.05)
    assert (record.num_rows, record.num_novel, record.rank, record.threshold) == (100, 3, 5, 1.0)
    np.testing.assert_array_equal(kept, np.arange(97.0))
    assert caveats(record) == []


@given(st.integers(1, 2000), st.integers(1, 2000), st.sampled_from([None, 0.5, 0.9, 0.999]))
def test_the_lowest_target_is_the_first_with_that_rank(n, k, confidence):
    k = min(k, n)
    target = lowest_target(n, k, confidence)
    assert target == 1.0 or threshold_rank(n, target, confidence) >= k
    assert target <= 1e-6 or threshold_rank(n, target - 1.1e-6, confidence) < k


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


def test_another_rate_has_the_rank_of_a_calibration_for_it_or_says_what_is_possible():
    scores, none = np.arange(999.0), np.zeros(999, bool)
    calibration, _ = calibrate(scores, none, 0.01)
    assert rank_for(calibration, 0.05) == calibrate(scores, none, 0.05)[0].rank == 50
    with pytest.raises(ConfigError, match=r"target_fpr 0.0005 needs at least 1999 calibration rows, the model has 999"):
        rank_for(calibration, 0.0005)
    with_novel = msgspec.structs.replace(calibration, num_novel=4)
    with pytest.raises(ConfigError, match=r"its threshold has rank 2, and 4 of .* possible target is 0.005;"):
        rank_for(with_novel, 0.002)
    assert rank_for(with_novel, 0.005) == 5
