"""The martingale and the detector keep what they promise while nothing changes, and notice changes."""

import numpy as np
import pytest
from scipy import stats

from anomaly_vae.assessment.martingale import BLOCK, OnlineRanks, ScoreWatch


def drawn(rng, n, kind="real"):
    """Scores: real numbers, or a few values of which the lowest stands for new values."""
    if kind == "real":
        return rng.normal(size=n)
    scores = rng.integers(0, 4, size=n).astype(float)
    scores[scores == 0.0] = -np.inf
    return scores


def split(scores):
    novel = np.isneginf(scores)
    return np.sort(scores[~novel]), int(novel.sum())


@pytest.mark.parametrize("kind", ["real", "tied"])
def test_p_values_are_uniform_and_independent_although_they_share_the_calibration_rows(kind):
    """Also with ties, and with rows that rank below all others."""
    rng = np.random.default_rng(3)
    p = []
    for seed in range(300):
        ranks = OnlineRanks(*split(drawn(rng, 60, kind)), seed)
        p.append(np.concatenate([ranks.p_values(drawn(rng, 32, kind)) for _ in range(4)]))
    p = np.array(p)
    assert stats.kstest(p.ravel(), "uniform").pvalue > 0.01
    assert stats.kstest(p.mean(axis=1), stats.norm(0.5, 1.0 / np.sqrt(12.0 * p.shape[1])).cdf).pvalue > 0.01
    assert p.mean(axis=1).var() * 12.0 * p.shape[1] == pytest.approx(1.0, abs=0.3)  # shared errors would give 3


def test_the_rank_is_that_among_all_rows_so_far():
    """Against the definition: (how many are below + theta times how many are not distinguished) / all."""
    rng = np.random.default_rng(8)
    calibration = np.sort(rng.normal(size=30))
    scores = rng.normal(size=200)
    p = np.concatenate([OnlineRanks(calibration, 0, 1).p_values(scores[:20])])
    gaps = np.searchsorted(calibration, scores[:20])
    for t in range(20):
        below = gaps[t] + np.count_nonzero(gaps[:t] < gaps[t])
        same = 1 + np.count_nonzero(gaps[:t] == gaps[t])
        assert below <= p[t] * (31 + t) <= below + same


def test_large_calibrations_are_grouped_with_the_lowest_rows_by_themselves():
    ranks = OnlineRanks(np.sort(np.random.default_rng(0).normal(size=20_000)), 0, 0)
    assert len(ranks._counts) < 800
    assert ranks._total == ranks._counts.sum() == 20_001
    assert (ranks._counts[:256] == 1).all()


def test_the_martingale_rarely_reaches_what_it_may_reach():
    """Ville: 1 / alpha with probability at most alpha, however long one looks. 300 streams, alpha 5 %."""
    rng = np.random.default_rng(4)
    alarms = 0
    for seed in range(300):
        watch = ScoreWatch(np.sort(rng.normal(size=50)), 0, seed=seed, alpha=0.05)
        watch.add(rng.normal(size=500))
        alarms += watch.first_row is not None
    assert stats.binom.sf(alarms - 1, 300, 0.05) > 0.01


def test_the_mean_of_the_martingale_is_one_and_that_of_the_detector_the_number_of_rows():
    """Over 3 rows, where means of so heavy-tailed numbers can be measured."""
    rng = np.random.default_rng(5)
    found = []
    for seed in range(4000):
        watch = ScoreWatch(np.sort(rng.normal(size=20)), 0, seed=seed)
        watch.add(rng.normal(size=3))
        found.append((np.exp(watch.log_martingale), watch._detector.sum()))
    means, errors = np.mean(found, axis=0), np.std(found, axis=0) / np.sqrt(len(found))
    assert (np.abs(means - [1.0, 3.0]) < 4.0 * errors).all()
    assert (errors < [0.05, 0.1]).all()


CHANGES = {
    "5 % anomalies": lambda x, rng: np.where(rng.random(len(x)) < 0.05, x - 8.0, x),
    "less normal": lambda x, rng: x - 0.5,
    "more normal": lambda x, rng: x + 0.5,
    "wider": lambda x, rng: 1.6 * x,
    "narrower": lambda x, rng: 0.5 * x,
}


@pytest.mark.parametrize("name", CHANGES)
def test_changes_are_noticed_by_both(name):
    rng = np.random.default_rng(6)
    watch = ScoreWatch(np.sort(rng.normal(size=1000)), 0)
    watch.add(rng.normal(size=1000))
    assert watch.first_row is None
    assert watch.log_detector < np.log(1e5)
    watch.add(CHANGES[name](rng.normal(size=1000), rng))
    assert watch.first_row is not None
    assert watch.first_row < 1700
    assert watch.log_highest > np.log(1e3)


def test_results_do_not_depend_on_how_rows_arrive():
    rng = np.random.default_rng(7)
    calibration, scores = np.sort(rng.normal(size=100)), rng.normal(size=3 * BLOCK + 5) - 0.3
    whole, parts = (ScoreWatch(calibration, 0) for _ in range(2))
    whole.add(scores)
    for start in range(0, len(scores), 7):
        parts.add(scores[start : start + 7])
    assert parts.log_martingale == pytest.approx(whole.log_martingale, abs=1e-9)
    assert parts.log_detector == pytest.approx(whole.log_detector, abs=1e-9)
    assert (parts.num_rows, parts.first_row) == (whole.num_rows, whole.first_row)


def test_low_bets_never_win_from_scores_that_are_too_high():
    """Thinned calibration scores of dependent windows are too low, so new scores seem too high."""
    rng = np.random.default_rng(9)
    watch = ScoreWatch(np.sort(rng.normal(size=200)), 0, only_low=True)
    watch.add(rng.normal(size=2000) + 1.0)
    assert watch.log_highest < np.log(2.0)


def test_the_detector_stays_finite_when_everything_is_an_anomaly():
    watch = ScoreWatch(np.linspace(0.0, 1.0, 20_000), 0)
    watch.add(np.full(5000, -1.0))
    assert 100 < watch.log_detector < 300
    assert np.isfinite(watch.log_martingale)


def test_ties_are_broken_at_random_by_the_calibration_scores():
    """The same rows give the same result; other calibration rows give other numbers, or a bad seed would stay bad."""
    scores = np.zeros(300)
    first, again, other = (ScoreWatch(np.full(n, 0.0), 0) for n in (50, 50, 51))
    for watch in (first, again, other):
        watch.add(scores)
    assert first.log_martingale == again.log_martingale
    assert abs(first.log_martingale - other.log_martingale) > 1e-3
