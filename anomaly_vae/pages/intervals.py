"""Shares with their intervals, one below the other, beside a limit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from anomaly_vae.pages.axes import axis, ticks
from anomaly_vae.pages.svg import WIDTH, chart, label, tag
from anomaly_vae.pages.texts import share, short

__all__ = ["Interval", "intervals"]

# Sizes in units of the chart, and letters of a name that fit.
_LINE, _NAMES, _LETTERS, _BOTTOM = 22.0, 130.0, 18, 22.0


class Interval(NamedTuple):
    """A share between 0 and 1 with the ends of its interval; ``is_out`` draws it as something to look at."""

    name: str
    value: float
    low: float
    high: float
    is_out: bool = False


def intervals(given: Sequence[Interval], title: str, *, limit: float | None = None) -> Markup:
    """Return a line for each interval, with a point at its value.

    Args:
        given: The intervals, from top to bottom.
        title: What the picture shows.
        limit: A share with a line across the picture; None for none.
    """
    x = axis([0.0, *(each.high for each in given), limit or 0.0], _NAMES + 6.0, WIDTH - 14.0)
    bottom = _LINE * len(given) + 6.0
    parts = list[str]()
    for value, _ in ticks(x.low, x.high, 4):
        place = x.place(value)
        parts.append(tag("line", x1=place, x2=place, y1=2.0, y2=bottom, class_="grid"))
        parts.append(label(share(value), place, bottom + 14.0, "tick", text_anchor="middle"))
    if limit is not None:
        place = x.place(limit)
        text = tag("title", f"promised: at most {share(limit)}")
        parts.append(tag("line", text, x1=place, x2=place, y1=2.0, y2=bottom, class_="mark"))
    for i, each in enumerate(given):
        y = _LINE * i + _LINE / 2 + 4.0
        ends = f"{each.name}: {share(each.value)}, interval {share(each.low)} to {share(each.high)}"
        parts.append(
            tag("text", short(each.name, _LETTERS), tag("title", each.name), x=_NAMES, y=y + 4, text_anchor="end")
        )
        style = "line l1" if each.is_out else "line l0"
        parts.append(
            tag("line", tag("title", ends), x1=x.place(each.low), x2=x.place(each.high), y1=y, y2=y, class_=style)
        )
        parts.append(
            tag(
                "circle",
                tag("title", ends),
                cx=x.place(each.value),
                cy=y,
                r=4.0,
                class_="out" if each.is_out else "dot",
            )
        )
    return chart(title, *parts, height=bottom + _BOTTOM, class_="bars")
