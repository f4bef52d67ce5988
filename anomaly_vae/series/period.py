"""The length of windows that follows from the data: whole periods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.series.grid import Segment

__all__ = ["SEGMENTS_FOR", "DefaultLength", "autocorrelation", "default_length", "find_period"]

# Steps that a window has at least, and without a clear period. On 13 series of NAB, windows of 128 steps found
# anomalies better than those of 32, 64 and 96, and the smallest multiple of the period from 128 on was better still.
_LEAST_STEPS = 128

# Before the length is known, gaps are those of windows of this length: see :meth:`~.grid.Panel.segments`.
SEGMENTS_FOR = _LEAST_STEPS

# Limits of that length: steps, and cells of all channels. Chosen, not measured: they bound memory and time.
_MOST_STEPS, _MOST_CELLS = 512, 4096

# The longest segment has this many windows one after the other, so that the split has blocks for its three parts.
_LEAST_WINDOWS = 4

# Peaks of the autocorrelation from this lag on can be a period, in steps. A shorter one fits any window.
_SHORTEST_PERIOD = 4

# The height that a peak must have, and the share of the highest peak that the first one needs: multiples of a period
# have peaks of nearly the same height. Chosen, not measured.
_LEAST_PEAK, _NEAR_HIGHEST = 0.3, 0.9

# A peak must be this much higher than an earlier value: noise makes small peaks on a slope. Chosen, not measured.
_LEAST_RISE = 0.05

# Noise gives one period several peaks side by side; the highest one counts, up to this multiple of the first one.
_PEAK_WIDTH = 1.1

# Periods that a segment must have, so that one can be seen.
_LEAST_PERIODS = 3

# Steps of a segment that are looked at, at most; they show every period that a window may have.
_STEPS_TO_SEE = 2**15

# Values further than this many robust standard deviations from the median are clipped: one spike would hide a period.
_MOST_DEVIATIONS = 5.0
_MAD_TO_STD = 1.4826


class DefaultLength(NamedTuple):
    """The default length of windows, and where it comes from.

    Attributes:
        length: Steps.
        period: The period of the data, steps; None without a clear one.
    """

    length: int
    period: int | None


def default_length(segments: Sequence[Segment]) -> DefaultLength:
    """Return the length of windows for these segments: the smallest multiple of the period from 128 steps on.

    Without a clear period it is 128. It is at most 512 steps, fewer with more than 8 channels, and at most a quarter
    of the longest segment.

    Args:
        segments: The segments of a panel; :data:`SEGMENTS_FOR` is the length of windows to cut them for.
    """
    period = find_period([segment.values for segment in segments])
    longest = max((len(segment.values) for segment in segments), default=0)
    num_channels = segments[0].values.shape[1] if len(segments) else 1
    length = _LEAST_STEPS if period is None else period * math.ceil(_LEAST_STEPS / period)
    limit = min(longest // _LEAST_WINDOWS, _MOST_STEPS, _MOST_CELLS // num_channels)
    return DefaultLength(max(min(length, limit), 2), period)


def find_period(parts: Sequence[FloatArray]) -> int | None:
    """Return the period of most channels, steps: the lower median of those that have one; None if most have none.

    Args:
        parts: Segments (T, C), NaN for missing cells.
    """
    num_channels = parts[0].shape[1] if len(parts) else 0
    found = [_channel_period([part[:, c] for part in parts]) for c in range(num_channels)]
    known = sorted(period for period in found if period is not None)
    return known[(len(known) - 1) // 2] if 2 * len(known) >= num_channels and known else None


def _channel_period(parts: Sequence[FloatArray]) -> int | None:
    """Return the first lag at which the autocorrelation has a peak that is nearly the highest."""
    cleaned = [clean for part in parts if (clean := _cleaned(part[:_STEPS_TO_SEE])) is not None]
    if not cleaned:
        return None
    most_lags = max(len(part) for part in cleaned) // _LEAST_PERIODS
    long_enough = [part for part in cleaned if len(part) // _LEAST_PERIODS >= most_lags // 2]
    most_lags = min(len(part) // _LEAST_PERIODS for part in long_enough)
    correlation = autocorrelation(long_enough, most_lags)
    inner = np.arange(_SHORTEST_PERIOD, len(correlation) - 1)
    before, here, after = (correlation[inner + shift] for shift in (-1, 0, 1))
    rise = here - np.minimum.accumulate(correlation)[inner]
    peaks = inner[(here > before) & (here >= after) & (rise >= _LEAST_RISE)]
    if not len(peaks) or correlation[peaks].max() < _LEAST_PEAK:
        return None
    first = int(peaks[correlation[peaks] >= _NEAR_HIGHEST * correlation[peaks].max()][0])
    around = slice(first, min(math.ceil(first * _PEAK_WIDTH) + 1, len(correlation)))
    return first + int(np.argmax(correlation[around]))


def autocorrelation(parts: Sequence[FloatArray], most_lags: int) -> FloatArray:
    """Return the autocorrelation of series with mean 0 at the lags 0 to ``most_lags``, pooled over the series.

    The sum over n - k products at lag k is divided by n, so that a late peak is lower than an early one: of a day and a
    week that show equally well, windows have days.

    Args:
        parts: Series of more than ``most_lags`` steps, mean 0.
        most_lags: The largest lag, steps.
    """
    total = np.zeros(most_lags + 1)
    for part in parts:
        size = 1 << (2 * len(part) - 1).bit_length()
        power = np.abs(np.fft.rfft(part, size)) ** 2
        total += np.fft.irfft(power, size)[: most_lags + 1]
    return np.asarray(total / total[0])


def _cleaned(values: FloatArray) -> FloatArray | None:
    """Return a series without its linear trend, outliers and gaps; None if it is too short or constant."""
    known = np.flatnonzero(~np.isnan(values))
    if len(known) < _LEAST_PERIODS * _SHORTEST_PERIOD:
        return None
    filled = np.interp(np.arange(len(values)), known, values[known])
    middle = np.median(filled)
    spread = _MAD_TO_STD * np.median(np.abs(filled - middle)) or filled.std()
    clipped = np.clip(filled, middle - _MOST_DEVIATIONS * spread, middle + _MOST_DEVIATIONS * spread)
    time = np.arange(len(values)) - (len(values) - 1) / 2
    centred = clipped - clipped.mean()
    detrended = centred - time * (time @ centred) / max(float(time @ time), 1.0)
    return detrended if detrended.std() > 1e-9 * max(abs(float(middle)), float(np.abs(filled).max()), 1e-300) else None
