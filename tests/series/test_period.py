"""Periods of known series."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.series.grid import make_panel
from anomaly_vae.series.period import SEGMENTS_FOR, autocorrelation, default_length, find_period
from anomaly_vae.series.windows import all_windows, block_split


def wave(period, n, seed=0, noise=0.3):
    rng = np.random.default_rng(seed)
    t = np.arange(n)
    return np.sin(2 * np.pi * t / period) + 0.5 * np.sin(4 * np.pi * t / period + 1) + noise * rng.normal(size=n)


def length_of(values, **options):
    return default_length(make_panel(values, **options).segments(SEGMENTS_FOR))


@pytest.mark.parametrize(("period", "length"), [(7, 133), (24, 144), (48, 144), (96, 192), (288, 288), (700, 512)])
def test_the_length_is_the_period_within_limits(period, length):
    found = length_of(wave(period, 20 * period + 600)[:, None])
    assert abs(found.period - period) <= max(1, 0.01 * period)
    assert abs(found.length - length) <= 2


def test_noise_on_a_slope_is_no_period():
    """The autocorrelation of a slow wave falls from 0.9, with small peaks of noise on the way."""
    found = find_period([wave(900, 8000, noise=0.5)[:, None]])
    assert abs(found - 900) <= 10


def test_a_trend_a_spike_and_gaps_hide_no_period():
    values = wave(30, 2000) + 0.01 * np.arange(2000)
    values[700] = 1e6
    values[np.random.default_rng(1).choice(2000, 200, replace=False)] = np.nan
    assert find_period([values[:, None]]) == 30


@pytest.mark.parametrize("kind", ["noise", "constant", "missing", "short"])
def test_without_a_clear_period_windows_have_128_steps(kind):
    rng = np.random.default_rng(0)
    values = {
        "noise": rng.normal(size=(2000, 1)),
        "constant": np.full((2000, 1), 7.1),
        "missing": np.full((2000, 1), np.nan),
        "short": rng.normal(size=(700, 1)),
    }[kind]
    assert length_of(values) == (128, None)


def test_a_series_has_at_least_four_windows():
    assert length_of(wave(48, 200)[:, None]) == (50, 48)
    values = np.zeros((511, 1))
    segments = make_panel(values).segments(127)
    block_split(segments, all_windows(segments, length_of(values).length), 127, seed=0)
    assert length_of(np.zeros((3, 1))).length == 2
    assert default_length(()).length == 2


def test_the_period_of_most_channels_counts():
    """Noise in one of three channels changes nothing; in two of three there is no common period."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(1500, 3))
    mixed = noise.copy()
    mixed[:, 0], mixed[:, 2] = wave(24, 1500), wave(24, 1500, seed=5)
    assert find_period([mixed]) == 24
    noise[:, 1] = wave(24, 1500)
    assert find_period([noise]) is None


def test_windows_of_many_channels_are_shorter():
    assert length_of(np.zeros((2000, 32))).length == 128
    assert length_of(np.zeros((2000, 64))).length == 64


def test_segments_are_pooled():
    """12 segments of 8 periods: each alone is short and noisy."""
    values = np.concatenate([wave(25, 200, seed=s, noise=0.9) for s in range(12)])
    names = [str(i // 200) for i in range(len(values))]
    parts = [segment.values for segment in make_panel(values[:, None], names=names).segments(SEGMENTS_FOR)]
    assert abs(find_period(parts) - 25) <= 1


def test_the_autocorrelation_equals_its_sum():
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=n) for n in (17, 30)]
    lags = [sum(float(x[: len(x) - k] @ x[k:]) for x in parts) for k in range(10)]
    np.testing.assert_allclose(autocorrelation(parts, 9), np.array(lags) / lags[0], rtol=1e-12)
