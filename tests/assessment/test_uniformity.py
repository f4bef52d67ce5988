"""The test of many scores at once is valid for any number of rows, and sees a few per cent of anomalies."""

import numpy as np
import pytest
from scipy import stats

from anomaly_vae.assessment.uniformity import score_shift


def p_value(calibration, scores, **options):
    novel = np.isneginf(calibration)
    return np.exp(score_shift(np.sort(calibration[~novel]), int(novel.sum()), scores, **options).log_p_value)


@pytest.mark.parametrize(("n", "m"), [(40, 2000), (500, 100), (200, 200)])
@pytest.mark.parametrize("kind", ["real", "tied"])
def test_false_alarms_are_as_rare_as_promised(n, m, kind):
    """Above all with few calibration rows and many new ones, where p-values as if independent always fail."""
    rng = np.random.default_rng(1)

    def draw(size):
        scores = rng.normal(size=size)
        return scores if kind == "real" else np.where(scores < -2.0, -np.inf, np.round(scores))

    alarms = sum(p_value(draw(n), draw(m)) <= 0.05 for _ in range(200))
    assert stats.binom.sf(alarms - 1, 200, 0.05) > 0.005
    assert kind == "tied" or alarms > 0  # not so conservative that it is of no use


def test_the_usual_test_would_be_invalid_here():
    """The reason for two samples: one-sample tests of 20,000 p-values from 100 calibration rows nearly always alarm."""
    rng = np.random.default_rng(2)
    calibration, scores = np.sort(rng.normal(size=100)), rng.normal(size=20_000)
    p_values = (1.0 + np.searchsorted(calibration, scores, side="right")) / 101.0
    assert stats.kstest(p_values, "uniform").pvalue < 1e-9
    assert p_value(calibration, scores) > 0.05


def test_five_per_cent_of_anomalies_are_noticed():
    rng = np.random.default_rng(3)
    calibration, scores = rng.normal(size=700), rng.normal(size=400)
    scores[::20] -= 10.0
    found = score_shift(np.sort(calibration), 0, scores)
    assert np.exp(found.log_p_value) < 1e-3
    assert found.strongest.found > 2.0 * found.strongest.expected


def test_rows_with_new_values_count_as_the_lowest():
    rng = np.random.default_rng(4)
    calibration = np.r_[np.full(3, -np.inf), rng.normal(size=997)]
    scores = np.r_[np.full(40, -np.inf), rng.normal(size=960)]
    assert p_value(calibration, scores) < 1e-4
    assert p_value(calibration, np.r_[np.full(3, -np.inf), rng.normal(size=997)]) > 0.05


@pytest.mark.parametrize(("shift", "tail"), [(0.4, "low"), (-0.4, "low"), (0.4, "both"), (-0.4, "both")])
def test_shifts_in_both_directions_are_noticed(shift, tail):
    rng = np.random.default_rng(5)
    assert p_value(rng.normal(size=1000), rng.normal(size=1000) + shift, tail=tail) < 1e-6


def test_only_low_looks_for_low_scores_only():
    rng = np.random.default_rng(6)
    calibration, scores = rng.normal(size=500), rng.normal(size=500)
    assert p_value(calibration, scores + 1.0, only_low=True) > 0.9
    assert p_value(calibration, scores - 1.0, only_low=True) < 1e-6


def test_the_share_of_lower_pairs_is_that_of_mann_and_whitney():
    rng = np.random.default_rng(7)
    calibration, scores = np.round(rng.normal(size=80), 1), np.round(rng.normal(size=50) - 0.5, 1)
    expected = stats.mannwhitneyu(calibration, scores).statistic / (80 * 50)
    assert score_shift(np.sort(calibration), 0, scores).lower_share == pytest.approx(expected)


def test_a_single_calibration_row_and_no_new_row_are_possible():
    assert p_value(np.zeros(1), np.zeros(3)) == 1.0
    assert p_value(np.zeros(5), np.empty(0)) == 1.0
