"""Lines: how a training went, the values of a window, and curves such as the ROC curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from anomaly_vae.pages.axes import PLOT_LEFT, PLOT_RIGHT, Axis, frame
from anomaly_vae.pages.svg import HEIGHT, WIDTH, chart, label, tag

__all__ = ["Line", "Point", "lines", "small_line"]

# Lines with a colour of their own; further ones begin again.
_COLOURS = 6

# Size of a line without axes.
_SMALL_WIDTH, _SMALL_HEIGHT = 220.0, 48.0


class Line(NamedTuple):
    """A line through points.

    Attributes:
        name: Its text in the legend; empty for none.
        x, y: The points, of one length. The line has a gap at a y that is NaN.
        style: A class of its own, such as "faint"; empty for a colour by its number.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    style: str = ""


class Point(NamedTuple):
    """A marked point with a text beside it."""

    x: float
    y: float
    text: str


def lines(
    given: Sequence[Line],
    title: str,
    x_title: str,
    y_title: str,
    *,
    x_range: Sequence[float] | None = None,
    y_range: Sequence[float] | None = None,
    diagonal: bool = False,
    points: Sequence[Point] = (),
    bands: Sequence[Line] = (),
) -> Markup:
    """Return lines in one frame, with a legend above them if they have names.

    Args:
        given: The lines.
        title: What the picture shows.
        x_title, y_title: What the axes show, with the unit.
        x_range, y_range: The least and the largest value of an axis; None for those of the lines. A line beyond runs
            along the edge.
        diagonal: Whether a line from corner to corner shows what chance gives.
        points: Points to mark.
        bands: Upper and lower ends of an interval around a line, one after the other.
    """
    named = [(i, line) for i, line in enumerate(given) if line.name]
    legend_height = 16.0 * ((len(named) + 1) // 2)
    xs = [value for line in given for value in line.x] if x_range is None else x_range
    every = [*given, *bands]
    ys = [value for line in every for value in line.y] if y_range is None else y_range
    room = (0.0, 0.0 if y_range is not None else 0.05)
    plot = frame(xs, ys, x_title, y_title, room=room)
    parts: list[str] = [plot.marks]
    if diagonal:
        ends = {"x1": plot.x.start, "y1": plot.y.start, "x2": plot.x.end, "y2": plot.y.end}
        parts.append(tag("line", class_="expected", **ends))
    for upper, lower in zip(bands[::2], bands[1::2], strict=True):
        around = [*_places(upper, plot.x, plot.y), *_places(lower, plot.x, plot.y)[::-1]]
        parts.append(tag("polygon", points=" ".join(around), class_="band"))
    parts += [_path(line, plot.x, plot.y, _style(line, i)) for i, line in enumerate(given)]
    for point in points:
        x, y = plot.x.place(point.x), plot.y.place(point.y)
        is_left = x < (plot.x.start + plot.x.end) / 2
        above = -12.0 if y > plot.y.end + 24 else 20.0
        parts.append(tag("circle", tag("title", point.text), cx=x, cy=y, r=4.0, class_="point"))
        end = "start" if is_left else "end"
        parts.append(label(point.text, x + (-4 if is_left else 4), y + above, "note", text_anchor=end))
    for place, (i, line) in enumerate(named):
        x, y = plot.x.start + (place % 2) * (WIDTH - PLOT_LEFT - PLOT_RIGHT) / 2, HEIGHT + 12.0 + 16.0 * (place // 2)
        parts.append(tag("line", x1=x, x2=x + 16, y1=y - 4, y2=y - 4, class_=_style(line, i)))
        parts.append(label(line.name, x + 22, y, "note"))
    return chart(title, *parts, height=HEIGHT + legend_height)


def small_line(values: Sequence[float], title: str) -> Markup:
    """Return a line without axes, such as one channel of a window; NaN is a gap."""
    line = Line("", range(len(values)), values)
    x = Axis(0.0, float(max(len(values) - 1, 1)), 3.0, _SMALL_WIDTH - 3.0)
    finite = [value for value in values if value == value]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    y = Axis(low, high if high > low else low + 1.0, _SMALL_HEIGHT - 4.0, 4.0)
    path = _path(line, x, y, "line l0")
    return chart(title, path, width=_SMALL_WIDTH, height=_SMALL_HEIGHT, class_="small")


def _style(line: Line, number: int) -> str:
    return f"line {line.style or f'l{number % _COLOURS}'}"


def _places(line: Line, x: Axis, y: Axis) -> list[str]:
    return [f"{x.place(at):.1f},{y.place(value):.1f}" for at, value in zip(line.x, line.y, strict=True)]


def _path(line: Line, x: Axis, y: Axis, style: str) -> Markup:
    """Return the line as a path that is lifted where a value is missing."""
    steps, is_down = list[str](), False
    for at, value in zip(line.x, line.y, strict=True):
        if value != value:
            is_down = False
            continue
        steps.append(f"{'L' if is_down else 'M'}{x.place(at):.1f} {y.place(value):.1f}")
        is_down = True
    return tag("path", d="".join(steps), class_=style)
