"""Axes of a chart: where a value lies, round numbers along it, and the frame around the chart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from anomaly_vae.pages.svg import HEIGHT, WIDTH, label, tag

__all__ = ["PLOT_LEFT", "PLOT_RIGHT", "Axis", "Frame", "axis", "frame", "ticks"]

# Places of the frame, in units of the chart.
PLOT_LEFT, PLOT_RIGHT, _TOP, _BOTTOM = 52.0, 12.0, 12.0, 40.0

# Steps of round numbers, times a power of ten.
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)

# From this size on, numbers along an axis have a power of ten. Chosen, not measured: they have to fit beside the axis.
_LARGE, _SMALL = 1e6, 1e-3

# Values and ranges beyond this, and ranges below its inverse, have no axis: sums and powers of ten would overflow.
_LARGEST = 1e300


class Axis(NamedTuple):
    """A range of values and the places of its ends, in units of the chart."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        """Return where a value lies; one outside the range lies at its end."""
        inside = min(max(value, self.low), self.high)
        return self.start + (inside - self.low) / (self.high - self.low) * (self.end - self.start)


class Frame(NamedTuple):
    """The axes of a chart, and the marks along them."""

    x: Axis
    y: Axis
    marks: Markup


def axis(values: Sequence[float], start: float, end: float, *, room: float = 0.0) -> Axis:
    """Return an axis for these values; a single value gets a range around it, and no value the range from 0 to 1.

    Args:
        values: Those that are not finite are ignored.
        start, end: Where it lies, in units of the chart.
        room: Share of the range that is added at either end.
    """
    finite = [min(max(float(value), -_LARGEST), _LARGEST) for value in values if math.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    if high - low <= max(1e-12 * max(abs(low), abs(high)), 1.0 / _LARGEST):
        spread = max(abs(low), 1.0) / 2.0
        low, high = low - spread, high + spread
    margin = room * (high - low)
    return Axis(low - margin, high + margin, start, end)


def ticks(low: float, high: float, count: int = 5) -> list[tuple[float, str]]:
    """Return round numbers in a range, about ``count``, each with its text.

    Examples:
        >>> ticks(0.0, 1.0, 2)
        [(0.0, '0'), (0.5, '0.5'), (1.0, '1')]
    """
    rough = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(each * power for each in _STEPS if each * power >= rough * (1.0 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [(i * step, _text(i * step, step)) for i in range(first, last + 1)]


def _text(value: float, step: float) -> str:
    if value == 0.0:
        return "0"
    if abs(value) >= _LARGE or step < _SMALL:
        return f"{value:.3g}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")
    text = f"{value:,.{max(0, 1 - math.floor(math.log10(step)))}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def frame(
    x_values: Sequence[float],
    y_values: Sequence[float],
    x_title: str,
    y_title: str,
    *,
    room: tuple[float, float] = (0.0, 0.0),
    height: float = HEIGHT,
) -> Frame:
    """Return the axes for these values, with lines at round numbers and a title on either side.

    Args:
        x_values, y_values: The ends of the axes are their least and their largest.
        x_title, y_title: What the axes show, with the unit.
        room: Share of the range that is added at the ends of x, and of y.
        height: That of the chart.
    """
    x = axis(x_values, PLOT_LEFT, WIDTH - PLOT_RIGHT, room=room[0])
    y = axis(y_values, height - _BOTTOM, _TOP, room=room[1])
    marks = list[str]()
    for value, text in ticks(y.low, y.high, 4):
        place = y.place(value)
        marks.append(tag("line", x1=x.start, x2=x.end, y1=place, y2=place, class_="grid"))
        marks.append(label(text, x.start - 5, place + 4, "tick", text_anchor="end"))
    for value, text in ticks(x.low, x.high, 4):
        place = x.place(value)
        marks.append(tag("line", x1=place, x2=place, y1=y.start, y2=y.start + 4, class_="axis"))
        marks.append(label(text, place, y.start + 16, "tick", text_anchor="middle"))
    marks.append(tag("line", x1=x.start, x2=x.end, y1=y.start, y2=y.start, class_="axis"))
    marks.append(label(x_title, (x.start + x.end) / 2, height - 6, "name", text_anchor="middle"))
    turned = f"rotate(-90 11 {(y.start + y.end) / 2:.1f})"
    marks.append(label(y_title, 11.0, (y.start + y.end) / 2, "name", text_anchor="middle", transform=turned))
    return Frame(x, y, Markup().join(marks))
