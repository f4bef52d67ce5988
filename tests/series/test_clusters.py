"""Clusters of low scores, and calibration scores that count as independent."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.calibration import conformal_p_value, rank, rank_from_top
from anomaly_vae.series.clusters import cluster_size, thinned


def moving_minimum(rng, n, m):
    """The minimum of m neighbours of independent noise: its extremal index is 1 / m (Leadbetter, 1983)."""
    noise = rng.normal(size=n + m - 1)
    return np.lib.stride_tricks.sliding_window_view(noise, m).min(axis=1)


@pytest.mark.parametrize("m", [1, 4, 16])
def test_the_clusters_of_a_moving_minimum(m):
    """One low value of the noise makes m low scores. Clusters that meet by chance count as one: a little more."""
    rng = np.random.default_rng(0)
    n = 200_000
    scores = moving_minimum(rng, n, m)
    size = cluster_size(scores, np.zeros(n, dtype=int), np.arange(n), length=m, quantile=0.002)
    assert size == pytest.approx(m, rel=0.08)


def test_clusters_end_where_windows_share_no_step():
    """Low scores at 0, 3, 7 and 8: windows of 4 steps that end at 3 and 7 share no step."""
    scores = np.ones(20)
    scores[[0, 3, 7, 8]] = -1.0
    ends, one = np.arange(20), np.zeros(20, dtype=int)
    assert cluster_size(scores, one, ends, 4, quantile=0.2) == 2.0
    assert cluster_size(scores, one, ends, 5, quantile=0.2) == 4.0
    two = np.where(ends < 8, 0, 1)
    assert cluster_size(scores, two, ends, 5, quantile=0.2) == 2.0  # other segments are other clusters
    order = np.random.default_rng(0).permutation(20)
    assert cluster_size(scores[order], two[order], ends[order], 5, quantile=0.2) == 2.0
    assert cluster_size(np.array([1.0]), np.array([0]), np.array([3]), 4) == 1.0


def test_equal_scores_count_together():
    """As many scores as share the value of the quantile."""
    assert cluster_size(np.zeros(10), np.zeros(10, dtype=int), np.arange(10), 4, quantile=0.1) == 10.0


def test_thinning_keeps_the_smallest_of_each_group():
    scores = np.array([6.0, 1.0, -np.inf, 3.0, 5.0, 2.0, 4.0])
    assert scores[thinned(scores, 1.0)].tolist() == sorted(scores)
    assert scores[thinned(scores, 2.5)].tolist() == [-np.inf, 3.0]
    assert thinned(scores, 99.0).tolist() == [2]
    assert thinned(np.empty(0), 3.0).tolist() == []


def test_p_values_are_never_smaller_than_those_of_all_scores():
    rng = np.random.default_rng(0)
    for n in (7, 24, 100):
        scores = np.sort(rng.normal(size=n))
        new = np.concatenate([scores, rng.normal(size=50), [-9.0, 9.0]])
        for m in (2, 3, 8):
            kept = scores[thinned(scores, m)]
            p_values = conformal_p_value(rank(kept, 0, new), len(kept))
            assert (p_values >= conformal_p_value(rank(scores, 0, new), n)).all()


def test_perfect_clusters_give_the_p_value_of_independent_ones():
    """8 events with 5 equal scores each: the p-values of the 8."""
    events = np.sort(np.random.default_rng(0).normal(size=8))
    scores = np.repeat(events, 5)
    np.testing.assert_array_equal(scores[thinned(scores, 5.0)], events)


def test_p_values_hold_for_dependent_windows():
    """In 4,000 short calibrations of a moving minimum, P(p <= alpha) is at most alpha; without thinning it is not."""
    rng = np.random.default_rng(1)
    m, n, alpha = 12, 120, 0.02
    thin, full = [], []
    for _ in range(4000):
        scores = moving_minimum(rng, n, m)
        size = cluster_size(scores, np.zeros(n, dtype=int), np.arange(n), m)
        ordered, new = np.sort(scores), moving_minimum(rng, 1, m)
        kept = ordered[thinned(ordered, size)]
        thin.append(conformal_p_value(rank(kept, 0, new), len(kept))[0])
        full.append(conformal_p_value(rank(ordered, 0, new), n)[0])
    for level in (alpha, 0.1, 0.3):
        assert np.mean(np.array(thin) <= level) <= level + 3 * np.sqrt(level / 4000)
    assert np.mean(np.array(full) <= alpha) > 2 * alpha


def two_sided(kept, new):
    ranks = np.minimum(rank(kept, 0, new), rank_from_top(kept, 0, new))
    return conformal_p_value(ranks, len(kept), "both")


def test_with_two_tails_the_upper_half_keeps_the_largest_of_each_group():
    scores = np.arange(11.0)[::-1]
    assert scores[thinned(scores, 2.0, "both")].tolist() == [0.0, 2.0, 6.0, 8.0, 10.0]
    assert scores[thinned(scores, 99.0, "both")].tolist() == [0.0, 10.0]
    rng = np.random.default_rng(0)
    for n in (7, 24, 25, 100):
        scores = np.sort(rng.normal(size=n))
        new = np.concatenate([scores, rng.normal(size=50), [-9.0, 9.0]])
        for m in (1, 2, 3, 8):
            assert (two_sided(scores[thinned(scores, m, "both")], new) >= two_sided(scores, new)).all()


def test_two_sided_p_values_hold_for_dependent_windows():
    """High scores in clusters, which are the low ones of a moving minimum with the other sign."""
    rng = np.random.default_rng(1)
    m, n, alpha = 12, 120, 0.04
    thin, full = [], []
    for _ in range(4000):
        scores, new = -moving_minimum(rng, n, m), -moving_minimum(rng, 1, m)
        places = np.zeros(n, dtype=int), np.arange(n), m
        size = max(cluster_size(scores, *places), cluster_size(-scores, *places))
        ordered = np.sort(scores)
        thin.append(two_sided(ordered[thinned(ordered, size, "both")], new)[0])
        full.append(two_sided(ordered, new)[0])
    for level in (alpha, 0.1, 0.3):
        assert np.mean(np.array(thin) <= level) <= level + 3 * np.sqrt(level / 4000)
    assert np.mean(np.array(full) <= alpha) > 2 * alpha
