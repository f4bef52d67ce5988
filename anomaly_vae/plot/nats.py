"""Axes of scores: anomalies can lie thousands of nats below normal rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from anomaly_vae.arrays import FloatArray

__all__ = ["NatsAxis"]

# Widths of the middle half of the scores that an axis shows without squeezing. Chosen, not measured: with more, normal
# scores and the threshold fall together.
_LINEAR_WIDTHS = 25.0

# Space beyond the last score, as a share of the axis.
_MARGIN = 0.05

_MOST_TICKS = 6


class NatsAxis:
    """The scale of an axis of scores: linear around the median, and logarithmic beyond if scores are far below.

    Attributes:
        low, high: The limits, nats.
        is_squeezed: Whether it is logarithmic beyond.
    """

    def __init__(self, scores: FloatArray, *thresholds: float | None) -> None:
        """Choose the scale and the limits.

        Args:
            scores: Nats, shape (N,); NaN and infinite ones do not count.
            thresholds: Nats; shown if they are finite.
        """
        finite = scores[np.isfinite(scores)]
        lines = [each for each in thresholds if each is not None and np.isfinite(each)]
        shown = np.concatenate([finite, lines]) if len(finite) or lines else np.zeros(1)
        usual = finite if len(finite) else shown
        self._centre = float(np.median(usual))
        lower, upper = np.percentile(usual, [25, 75])
        self._width = max(float(upper - lower), 1e-3 * float(np.ptp(shown)), 1e-9)
        reach = float(np.abs(shown - self._centre).max())
        self.is_squeezed = reach > _LINEAR_WIDTHS * self._width
        low, high = self.squeeze(shown.min()), self.squeeze(shown.max())
        margin = _MARGIN * max(float(high - low), 1e-9)
        self.low, self.high = float(self.stretch(low - margin)), float(self.stretch(high + margin))

    def squeeze(self, nats: Any) -> Any:
        """Return places on the axis."""
        return np.arcsinh((nats - self._centre) / self._width) if self.is_squeezed else np.asarray(nats, dtype=float)

    def stretch(self, places: Any) -> Any:
        """Return the nats at places of the axis."""
        return self._centre + self._width * np.sinh(places) if self.is_squeezed else np.asarray(places, dtype=float)

    def visible(self, nats: FloatArray) -> FloatArray:
        """Return scores with infinite ones at the ends of the axis."""
        return np.where(np.isinf(nats), np.clip(nats, self.low, self.high), nats)

    def even(self, count: int) -> FloatArray:
        """Return the borders of ``count`` bins that look equally wide."""
        return np.asarray(self.stretch(np.linspace(self.squeeze(self.low), self.squeeze(self.high), count + 1)))

    def ticks(self, most: int = _MOST_TICKS) -> list[float]:
        """Return round numbers that are well apart on the axis, at most this many, increasing."""
        low, high = float(self.squeeze(self.low)), float(self.squeeze(self.high))
        between = (high - low) / most
        found: list[float] = []
        for place in np.linspace(low, high, 4 * most + 1):
            around = float(self.stretch(place + between / 4) - self.stretch(place - between / 4))
            tick = _rounded(float(self.stretch(place)), around)
            spot = float(self.squeeze(tick))
            if low <= spot <= high and (not found or spot - float(self.squeeze(found[-1])) >= between):
                found.append(tick)
        return found

    def apply(self, axes: Any, which: str, most_ticks: int = _MOST_TICKS) -> None:
        """Give an axis ("x" or "y") of matplotlib this scale, with its limits and at most this many ticks."""
        if self.is_squeezed:
            getattr(axes, f"set_{which}scale")("function", functions=(self.squeeze, self.stretch))
            ticks = self.ticks(most_ticks)
            getattr(axes, f"set_{which}ticks")(ticks, [f"{tick:,g}".replace("-", "\N{MINUS SIGN}") for tick in ticks])
            getattr(axes, f"{which}axis").minorticks_off()
        else:
            axes.locator_params(axis=which, nbins=most_ticks)
        getattr(axes, f"set_{which}lim")(self.low, self.high)


def _rounded(value: float, distance: float) -> float:
    """Return a round number that is near, as measured by the distance of ticks: a multiple of 1, 2 or 5 times 10^k."""
    power = 10.0 ** np.floor(np.log10(max(distance, 1e-12)))
    unit = max(factor * power for factor in (1, 2, 5) if factor * power <= distance or factor == 1)
    return float(np.round(np.round(value / unit) * unit, 12))
