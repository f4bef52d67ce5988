"""Whether p-values are like those of normal rows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ks_2samp

from anomaly_vae.assessment.spread import spread_of, spread_of_counts
from tests.support.assessed import conformal


def test_it_is_the_two_sample_test_of_scipy():
    rng = np.random.default_rng(0)
    calibration, rows = np.sort(rng.normal(size=400)), rng.normal(0.2, size=700)
    p_value = (1 + np.searchsorted(calibration, rows, side="right")) / 401
    found, expected = spread_of(p_value, 400), ks_2samp(calibration, rows, method="asymp")
    assert found.distance == pytest.approx(expected.statistic, abs=1 / 400)
    assert found.chance == pytest.approx(expected.pvalue, rel=0.3)


def test_normal_rows_are_seldom_unlike():
    """The rate of false alarms at 0.05, with one small calibration set for many rows, within 3 errors of it."""
    rng = np.random.default_rng(1)
    alarms = [spread_of(conformal(rng, 2000, 99), 99).chance <= 0.05 for _ in range(300)]
    assert np.mean(alarms) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)


def test_an_excess_of_small_p_values_shows_in_both():
    p_value = np.concatenate([np.full(30, 0.01), (np.arange(100) % 100 + 1) / 100])
    both, small = spread_of(p_value, 99), spread_of(p_value, 99, only_small=True)
    assert both.distance == small.distance > 0.2
    assert 0.0 < small.chance < both.chance < 0.01
    assert spread_of(np.ones(50), 99, only_small=True).chance == 1.0
    assert spread_of(np.ones(50), 99).chance < 1e-6


def test_the_histogram_counts_an_upper_edge_to_its_tenth():
    found = spread_of((np.arange(100) + 1) / 100, 99)
    np.testing.assert_allclose(found.histogram, np.full(10, 0.1))
    assert (found.distance, found.chance) == (pytest.approx(0.0, abs=1e-12), 1.0)


@pytest.mark.parametrize("only_small", [False, True])
def test_counted_p_values_give_what_the_p_values_give(only_small):
    """With 999 calibration rows every p-value is the edge of a part, so nothing is lost."""
    p_value = np.random.default_rng(0).integers(1, 901, 4_000) / 1000.0
    counts = np.bincount(np.rint(p_value * 1000).astype(int) - 1, minlength=1_000)
    exact, counted = (
        spread_of(p_value, 999, only_small=only_small),
        spread_of_counts(counts, 999, only_small=only_small),
    )
    assert counted.distance == pytest.approx(exact.distance, abs=1e-12)
    assert counted.chance == pytest.approx(exact.chance, rel=1e-6)
    assert counted.histogram == pytest.approx(exact.histogram)
