"""Numbers on a circle."""

from __future__ import annotations

import math

import numpy as np
import pytest

from anomaly_vae.columns.angles import from_angle, to_angle, wrapped


def test_only_the_remainder_counts():
    values = np.array([0.0, 1.5, 23.75])
    for periods in (-3, -1, 1, 1000):
        np.testing.assert_array_equal(wrapped(values + periods * 24.0, 24.0), values)


@pytest.mark.parametrize("value", [-1e-20, -0.0, 24.0, 1e300, -1e300, 5e-324, 0.1 + 0.2])
def test_the_remainder_is_below_the_period(value):
    """A tiny negative number plus the period is the period in float64."""
    assert 0.0 <= wrapped(np.array([value]), 24.0)[0] < 24.0


def test_a_missing_value_stays_missing():
    assert np.isnan(wrapped(np.array([np.nan]), 7.0)[0])


def test_angles_go_around_once_in_a_period():
    np.testing.assert_allclose(to_angle(np.array([0.0, 6.0, 30.0, -6.0]), 24.0), np.array([0, 0.5, 0.5, 1.5]) * math.pi)


def test_angles_lead_back_to_the_values():
    values = np.random.default_rng(0).uniform(0.0, 365.25, size=1000)
    np.testing.assert_allclose(from_angle(to_angle(values, 365.25), 365.25), values, rtol=1e-12)
    assert from_angle(np.array([2.0 * math.pi]), 7.0)[0] == 0.0
