"""Exact tails against scipy, and what they mean."""

import math

import numpy as np
import pytest
from scipy import stats

from anomaly_vae.assessment.drift_counts import log_p_deficit, log_p_excess, log_p_level, log_tail


@pytest.mark.parametrize(
    ("total", "marked", "drawn", "least"),
    [
        (100, 30, 20, 9),
        (100, 30, 20, 3),
        (100, 30, 20, 20),
        (50, 50, 7, 7),
        (100_000, 300, 20_000, 95),
        (1_200_000, 20_000, 30_000, 600),
        (1_200_000, 200_000, 300_000, 50_300),
    ],
)
def test_the_tail_is_that_of_the_hypergeometric_distribution(total, marked, drawn, least):
    expected = stats.hypergeom.logsf(least - 1, total, marked, drawn)
    assert log_tail(total, marked, drawn, least) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_what_is_certain_and_what_is_impossible():
    assert log_tail(10, 4, 8, 2) == 0.0  # two of the eight must be marked
    assert log_tail(10, 4, 8, 5) == -math.inf


@pytest.mark.parametrize(("n", "m", "k", "count"), [(99, 200, 1, 8), (500, 50, 25, 9), (20, 20, 20, 12)])
def test_the_number_of_new_rows_below_a_calibration_row_is_beta_binomial(n, m, k, count):
    """The k-th of n uniform numbers is Beta(k, n + 1 - k), and given it the number below is binomial."""
    law = stats.betabinom(m, k, n + 1 - k)
    assert log_p_excess(n, m, k, count) == pytest.approx(law.logsf(count - 1), abs=1e-9)
    assert log_p_deficit(n, m, k, count) == pytest.approx(law.logcdf(count), abs=1e-9)


def test_a_property_is_compared_as_by_fisher():
    for alternative, log_p in zip(("less", "greater"), log_p_level(200, 80, 12, 15), strict=True):
        table = np.array([[12, 15], [188, 65]])
        assert math.exp(log_p) == pytest.approx(stats.fisher_exact(table, alternative).pvalue, rel=1e-9)
