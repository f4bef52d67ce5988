"""Histograms, with marks at values such as a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from anomaly_vae.pages.axes import frame
from anomaly_vae.pages.svg import chart, label, tag
from anomaly_vae.pages.texts import counted, number

__all__ = ["Mark", "histogram", "small_histogram"]

# Size of a histogram within a line of a table.
_BAR_WIDTH, _BAR_HEIGHT = 7.0, 28.0


class Mark(NamedTuple):
    """A value on the axis, with a text beside its line."""

    value: float
    text: str


def histogram(
    edges: Sequence[float],
    counts: Sequence[int],
    title: str,
    x_title: str,
    *,
    marks: Sequence[Mark] = (),
    level: float | None = None,
    unit: str = "row",
    outline: Sequence[float] | None = None,
) -> Markup:
    """Return a histogram.

    Args:
        edges: The ends of the bars, increasing, one more than counts.
        counts: Rows in each bar; the last bar includes its upper end.
        title: What the picture shows.
        x_title: What the values are, with the unit.
        marks: Values with a line across the picture. Bars that lie below the first one, or above the second one, are
            drawn as anomalous.
        level: The count that every bar is expected to have; None for no line.
        unit: What is counted.
        outline: Counts that are drawn as steps above the bars, one for each bar; None for none.
    """
    values = [*edges, *(mark.value for mark in marks)]
    plot = frame(values, [0.0, 1.05 * max([*counts, *(outline or ()), level or 0.0, 1.0])], x_title, f"{unit}s")
    bars = list[str]()
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        left, right, top = plot.x.place(low), plot.x.place(high), plot.y.place(count)
        is_beyond = _is_beyond(low, high, marks)
        bars.append(
            tag(
                "rect",
                tag("title", f"{number(low)} to {number(high)}: {counted(count, unit)}"),
                x=left + 0.5,
                y=top,
                width=max(right - left - 1.0, 0.5),
                height=plot.y.start - top,
                class_="bar out" if is_beyond else "bar",
            )
        )
    if level is not None:
        place = plot.y.place(level)
        bars.append(tag("line", x1=plot.x.start, x2=plot.x.end, y1=place, y2=place, class_="expected"))
    for i, usual in enumerate(outline or ()):
        ends, place = (plot.x.place(edges[i]), plot.x.place(edges[i + 1])), plot.y.place(usual)
        bars.append(tag("line", x1=ends[0], x2=ends[1], y1=place, y2=place, class_="usual"))
    for i, mark in enumerate(marks):
        place = plot.x.place(mark.value)
        bars.append(tag("line", x1=place, x2=place, y1=plot.y.start, y2=plot.y.end, class_="mark"))
        is_left = place < (plot.x.start + plot.x.end) / 2
        side = {"x": place + (4 if is_left else -4), "text_anchor": "start" if is_left else "end"}
        bars.append(label(mark.text, y=plot.y.end + 10 + 14 * i, class_="note", **side))  # type: ignore[arg-type]
    return chart(title, plot.marks, *bars)


def _is_beyond(low: float, high: float, marks: Sequence[Mark]) -> bool:
    """Return whether the middle of a bar lies below the first mark, or above the second one."""
    middle = (low + high) / 2.0
    return (len(marks) > 0 and middle < marks[0].value) or (len(marks) > 1 and middle > marks[1].value)


def small_histogram(counts: Sequence[int]) -> Markup:
    """Return a histogram without axes, for a cell of a table; empty without counts."""
    if not counts:
        return Markup()
    most = max(counts) or 1
    bars = [
        tag(
            "rect",
            x=i * _BAR_WIDTH,
            y=_BAR_HEIGHT * (1.0 - count / most),
            width=_BAR_WIDTH - 1.0,
            height=_BAR_HEIGHT * count / most,
            class_="bar",
        )
        for i, count in enumerate(counts)
    ]
    width = _BAR_WIDTH * len(counts)
    return tag(
        "svg",
        tag("title", f"histogram: {', '.join(f'{count:,}' for count in counts)}"),
        *bars,
        width=width,
        height=_BAR_HEIGHT,
        viewBox=f"0 0 {width:g} {_BAR_HEIGHT:g}",
        role="img",
    )
