"""The most anomalous rows of a report: what is strange about each, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from anomaly_vae.arrays import FloatArray
from anomaly_vae.pages.axes import PLOT_LEFT, PLOT_RIGHT, axis
from anomaly_vae.pages.bars import Bar, bars
from anomaly_vae.pages.colours import levels_of
from anomaly_vae.pages.curves import Line, lines
from anomaly_vae.pages.pixels import picture
from anomaly_vae.pages.records import Blame, WorstRow
from anomaly_vae.pages.svg import WIDTH, chart, tag
from anomaly_vae.pages.texts import number

__all__ = ["ShownRow", "shown_row"]

# Channels of a window that are drawn. Chosen, not measured: as many as lines have colours.
_MOST_CHANNELS = 6

# Height of a strip of surprise, and nats that have the strongest colour at least, so that the noise of a usual row does
# not look like an anomaly. Chosen, not measured.
_STRIP, _LEAST_NATS = 12.0, 2.0

# Cells that are told in words, at most, and the nats and the share of the first one that the others have at least.
# Chosen, not measured: less is what chance gives.
_MOST_TOLD, _TOLD_NATS, _TOLD_SHARE = 4, 1.0, 0.02

# Size of the picture of an expected range.
_RANGE_WIDTH, _RANGE_HEIGHT = 220.0, 20.0


class Reason(NamedTuple):
    """A cell to blame: its text, and a picture of the value beside the range that is expected."""

    column: str
    text: str
    range: Markup


class ShownRow(NamedTuple):
    """A row as the template shows it.

    Attributes:
        row: The row.
        bars: How much each cell adds; empty without reasons.
        reasons: The cells to blame.
        window: The window as lines; empty for others.
        strips: Where the window is surprising; empty for others.
        pictures: The image and its reconstruction, each with its caption.
    """

    row: WorstRow
    bars: Markup
    reasons: Sequence[Reason]
    window: Markup
    strips: Markup
    pictures: Sequence[tuple[Markup, str]]


def shown_row(row: WorstRow, channels: Sequence[str], pixel_range: tuple[float, float]) -> ShownRow:
    """Return a row with its pictures.

    Args:
        row: The row.
        channels: Names of the channels of windows.
        pixel_range: The values of black and white.
    """
    images = [("image", row.image), ("what the model makes of it", row.reconstruction)]
    pictures = [
        (picture(values, *pixel_range, f"{row.name}: {text}"), text) for text, values in images if values is not None
    ]
    if row.image is not None and row.excess is not None:
        pictures.append(_surprise(row.name, row.excess))
    return ShownRow(
        row,
        _bars(row.blame),
        [Reason(each.column, each.text, _range(each)) for each in _told(row.blame)],
        Markup() if row.window is None else _window(row.name, row.window, channels),
        Markup() if row.window is None or row.excess is None else _strips(row.excess, channels),
        pictures,
    )


def _told(blame: Sequence[Blame]) -> list[Blame]:
    """Return the cells to tell in words: the first one, and those that add to it."""
    least = max(_TOLD_NATS, _TOLD_SHARE * blame[0].excess) if blame else 0.0
    return [each for i, each in enumerate(blame[:_MOST_TOLD]) if i == 0 or each.excess >= least]


def _bars(blame: Sequence[Blame]) -> Markup:
    if not blame:
        return Markup()
    given = [Bar(each.column, each.excess, each.text, each.std_error) for each in blame]
    return bars(given, "Surprise of each column above what is usual, nats")


def _range(blame: Blame) -> Markup:
    """Return the expected range as a bar with its middle, and the value as a point; empty for texts."""
    known = (blame.value, blame.low, blame.middle, blame.high)
    if any(each is None or not np.isfinite(each) for each in known):
        return Markup()
    value, low, middle, high = (float(each or 0.0) for each in known)
    x, y = axis([value, low, high], 8.0, _RANGE_WIDTH - 8.0), _RANGE_HEIGHT / 2
    about = f"found {number(value)}, expected {number(low)} to {number(high)}"
    return chart(
        about,
        tag("line", x1=x.start, x2=x.end, y1=y, y2=y, class_="grid"),
        tag("line", x1=x.place(low), x2=x.place(high), y1=y, y2=y, class_="range"),
        tag("line", x1=x.place(middle), x2=x.place(middle), y1=y - 6, y2=y + 6, class_="middle"),
        tag("circle", cx=x.place(value), cy=y, r=5.0, class_="point"),
        width=_RANGE_WIDTH,
        height=_RANGE_HEIGHT,
        class_="small",
    )


def _window(name: str, window: FloatArray, channels: Sequence[str]) -> Markup:
    """Return the channels of a window; several are drawn in parts of their own range, one in its units."""
    steps = range(len(window))
    shown = [window[:, c] for c in range(min(window.shape[1], _MOST_CHANNELS))]
    if len(shown) == 1:
        return lines([Line("", steps, shown[0].tolist())], f"Window {name}", "step of the window", channels[0])
    given = [Line(channels[c], steps, _scaled(values).tolist()) for c, values in enumerate(shown)]
    return lines(given, f"Window {name}", "step of the window", "share of its range", y_range=[0.0, 1.0])


def _strips(excess: FloatArray, channels: Sequence[str]) -> Markup:
    """Return the surprise of each step of a window (T, C), a strip for each channel, below the steps of its lines."""
    steps, shown = len(excess), min(excess.shape[1], _MOST_CHANNELS)
    high = float(excess.max())
    levels = levels_of(excess[:, :shown].ravel(), 0.0, max(high, _LEAST_NATS)).reshape(steps, shown)
    x = axis([0.0, float(steps)], PLOT_LEFT, WIDTH - PLOT_RIGHT)
    parts = list[str]()
    for c in range(shown):
        y = c * _STRIP
        parts.append(tag("line", x1=PLOT_LEFT - 16.0, x2=PLOT_LEFT - 4.0, y1=y + 5.0, y2=y + 5.0, class_=f"line l{c}"))
        for t in range(steps):
            text = f"{channels[c]}, step {t}: {number(float(excess[t, c]), 2)} nats"
            place = {"x": x.place(t), "width": x.place(t + 1) - x.place(t), "y": y, "height": _STRIP - 2.0}
            parts.append(tag("rect", tag("title", text), class_=f"h{levels[t, c]}", **place))
    return chart("Surprise of each step above what is usual", *parts, height=shown * _STRIP + 2.0)


def _surprise(name: str, excess: FloatArray) -> tuple[Markup, str]:
    """Return where an image is surprising, white where most, and its caption."""
    total = excess.sum(axis=2, keepdims=True)
    high = max(float(total.max()), _LEAST_NATS)
    return picture(total, 0.0, high, f"{name}: where it is surprising"), "where it is surprising"


def _scaled(values: FloatArray) -> FloatArray:
    known = values[np.isfinite(values)]
    if not len(known) or not known.max() > known.min():
        return np.where(np.isnan(values), np.nan, 0.5)
    return np.asarray((values - known.min()) / (known.max() - known.min()))
