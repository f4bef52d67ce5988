"""Exact ranks of thresholds, and the rows that they need."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from anomaly_vae.calibration import (
    contrast_rank_of,
    lowest_target,
    rate_of_rank,
    rows_needed,
    sides,
    threshold_rank,
)

# So near to 1 that the slack of the rounding reaches it.
NEARLY_1 = 1.0 - 1e-12


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


@given(st.integers(1, 2000), st.integers(1, 2000), st.sampled_from([None, 0.5, 0.9, 0.999]))
def test_the_lowest_target_is_the_first_with_that_rank(n, k, confidence):
    k = min(k, n)
    target = lowest_target(n, k, confidence)
    assert target == 1.0 or threshold_rank(n, target, confidence) >= k
    assert target <= 1e-6 or threshold_rank(n, target - 1.1e-6, confidence) < k


@pytest.mark.parametrize(
    ("n", "alpha", "k"),
    [
        (199, 0.01, 1),
        (198, 0.01, 0),
        (99, 0.58, 29),
        (99, 0.14, 7),
        (2, 0.9, 1),
        (1, 0.9, 0),
        (1, NEARLY_1, 0),
        (3, NEARLY_1, 1),
    ],
)
def test_each_of_two_sides_has_the_exact_rank_of_half_the_target(n, alpha, k):
    assert threshold_rank(n, alpha, tail="both") == k


@given(st.integers(1, 400), st.floats(0.001, 1.0 - 1e-12), st.sampled_from([None, 0.5, 0.99]))
def test_two_thresholds_never_cross(n, alpha, confidence):
    """Where they did, every score would be beyond one of them. A share of normal rows of 1 is no promise."""
    k = threshold_rank(n, alpha, confidence, "both")
    assert 2 * k <= n
    assert rate_of_rank(n, k, "both") <= alpha + 1e-9 or confidence is not None


@pytest.mark.parametrize("confidence", [None, 0.9])
@pytest.mark.parametrize("alpha", [0.05, 0.01, 0.001, 0.3, 0.07])
def test_rows_needed_for_two_sides_is_where_the_rank_becomes_one(alpha, confidence):
    n = rows_needed(alpha, confidence, "both")
    assert threshold_rank(n, alpha, confidence, "both") >= 1
    assert threshold_rank(n - 1, alpha, confidence, "both") == 0
    if confidence is None:
        assert n == np.ceil(round(2 / alpha, 6)) - 1


def test_with_a_confidence_each_side_has_half_of_the_target_and_half_of_the_doubt():
    for n in (500, 3000):
        assert threshold_rank(n, 0.04, 0.9, "both") == threshold_rank(n, 0.02, 0.95)


@given(st.integers(2, 2000), st.integers(1, 1000), st.sampled_from([None, 0.5, 0.999]))
def test_the_lowest_target_of_two_sides_is_the_first_with_that_rank(n, k, confidence):
    k = min(k, n // 2)
    target = lowest_target(n, k, confidence, "both")
    assert target == 1.0 or threshold_rank(n, target, confidence, "both") >= k
    assert target <= 1e-6 or threshold_rank(n, target - 1.1e-6, confidence, "both") < k


def test_the_false_positive_rate_of_two_sides_is_that_of_both_ranks():
    """Over calibration sets, k / (n + 1) on each side, so no more than the target in all."""
    rng = np.random.default_rng(0)
    n, alpha, runs = 200, 0.05, 3000
    k = threshold_rank(n, alpha, tail="both")
    known, new = np.sort(rng.normal(size=(runs, n)), axis=1), rng.normal(size=(runs, 300))
    low, high = (new < known[:, k - 1, None]).mean(axis=1), (new > known[:, -k, None]).mean(axis=1)
    for share in (low, high):
        assert abs(share.mean() - k / (n + 1)) < 4 * share.std() / np.sqrt(runs)
    assert rate_of_rank(n, k, "both") <= alpha


@given(st.integers(4, 3000), st.floats(0.001, 0.5), st.floats(0.5, 0.99), st.sampled_from(["low", "both"]))
def test_with_a_confidence_the_rank_of_the_contrast_is_valid_and_belongs_to_that_of_the_score(
    n, alpha, confidence, tail
):
    k = threshold_rank(n, alpha, confidence, tail, contrast=True)
    if k == 0:
        return
    of_contrast = contrast_rank_of(n, k, alpha, confidence, tail)
    assert of_contrast // sides(tail) == k
    assert of_contrast <= threshold_rank(n, alpha, confidence, contrast=True)
