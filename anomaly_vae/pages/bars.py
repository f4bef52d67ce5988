"""Horizontal bars with a name on the left: how much each of several parts adds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from anomaly_vae.pages.axes import axis
from anomaly_vae.pages.svg import WIDTH, chart, label, tag
from anomaly_vae.pages.texts import number, short

__all__ = ["Bar", "bars"]

# Sizes in units of the chart, and letters of a name that fit.
_LINE, _NAMES, _LETTERS = 24.0, 130.0, 16


class Bar(NamedTuple):
    """One bar.

    Attributes:
        name: Its text on the left.
        value: Its length; a negative one goes to the left.
        note: What appears when the pointer rests on it.
        error: Half the length of the line that shows how certain the value is; 0 for none.
    """

    name: str
    value: float
    note: str = ""
    error: float = 0.0


def bars(given: Sequence[Bar], title: str, *, adds_up: bool = False, digits: int = 3) -> Markup:
    """Return horizontal bars.

    Args:
        given: The bars, from top to bottom.
        title: What the picture shows.
        adds_up: Whether each bar begins where the one above it ends, as in a waterfall.
        digits: Significant digits of the numbers.
    """
    starts = [0.0] * len(given)
    if adds_up:
        for i in range(1, len(given)):
            starts[i] = starts[i - 1] + given[i - 1].value
    ends = [start + bar.value for start, bar in zip(starts, given, strict=True)]
    reach = [end + sign * bar.error for end, bar in zip(ends, given, strict=True) for sign in (-1, 1)]
    x = axis([0.0, *starts, *ends, *reach], _NAMES + 6.0, WIDTH - 52.0)
    zero = x.place(0.0)
    parts: list[str] = [tag("line", x1=zero, x2=zero, y1=4.0, y2=_LINE * len(given) + 4.0, class_="axis")]
    for i, (bar, start, end) in enumerate(zip(given, starts, ends, strict=True)):
        left, right = sorted((x.place(start), x.place(end)))
        middle = _LINE * i + _LINE / 2 + 4.0
        parts.append(
            tag("text", short(bar.name, _LETTERS), tag("title", bar.name), x=_NAMES, y=middle + 4, text_anchor="end")
        )
        parts.append(
            tag(
                "rect",
                tag("title", bar.note or f"{bar.name}: {number(bar.value, digits)}"),
                x=left,
                y=middle - 7.0,
                width=max(right - left, 1.0),
                height=14.0,
                class_="bar" if bar.value >= 0 else "bar out",
            )
        )
        if bar.error:
            low, high = x.place(end - bar.error), x.place(end + bar.error)
            parts.append(tag("line", x1=low, x2=high, y1=middle, y2=middle, class_="error"))
            right = max(right, high)
        parts.append(label(number(bar.value, digits), right + 5.0, middle + 4, "tick"))
    return chart(title, *parts, height=_LINE * len(given) + 8.0, class_="bars")
