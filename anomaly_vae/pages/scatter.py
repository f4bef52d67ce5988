"""Maps of points, coloured by a value."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.pages.axes import frame
from anomaly_vae.pages.colours import levels_of, scale_bar
from anomaly_vae.pages.svg import HEIGHT, chart, tag
from anomaly_vae.pages.texts import number

__all__ = ["scatter"]

# The map is higher than other charts, and shows the colours below.
_HEIGHT = HEIGHT + 70.0

# Quantiles of the values at which the colours begin and end, so that an outlier does not take all colours.
_ENDS = (0.05, 0.98)


def scatter(
    points: FloatArray,
    values: FloatArray,
    title: str,
    x_title: str,
    y_title: str,
    *,
    value_title: str,
    is_marked: NDArray[np.bool_] | None = None,
    background: FloatArray | None = None,
    limits: FloatArray | None = None,
) -> Markup:
    """Return a map; points with low values are drawn last.

    Args:
        points: Places, shape (N, 2).
        values: What the colours show, shape (N,).
        title: What the picture shows.
        x_title, y_title, value_title: What the axes and the colours show.
        is_marked: Points with a ring, such as anomalies, shape (N,).
        background: Points without a value, drawn first, shape (M, 2).
        limits: The least and the largest place on each axis, shape (2, 2); points beyond lie on the edge. None for
            those of the points.
    """
    marked = np.zeros(len(points), dtype=bool) if is_marked is None else is_marked
    behind = np.empty((0, 2)) if background is None else background
    ends = np.concatenate([points, behind]) if limits is None else limits
    plot = frame(ends[:, 0].tolist(), ends[:, 1].tolist(), x_title, y_title, room=(0.03, 0.03), height=_HEIGHT - 22)
    finite = values[np.isfinite(values)]
    low, high = np.quantile(finite, _ENDS).tolist() if len(finite) else (0.0, 1.0)
    levels = levels_of(values, low, high)
    parts: list[str] = [plot.marks]
    parts += [tag("circle", cx=plot.x.place(x), cy=plot.y.place(y), r=1.5, class_="behind") for x, y in behind.tolist()]
    for i in np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable").tolist():
        x, y = points[i].tolist()
        parts.append(
            tag(
                "circle",
                cx=plot.x.place(x),
                cy=plot.y.place(y),
                r=4.0 if marked[i] else 2.2,
                class_=f"s{levels[i]} ring" if marked[i] else f"s{levels[i]}",
            )
        )
    parts.append(scale_bar(low, high, value_title, _HEIGHT - 6))
    about = f"{title}; {value_title} from {number(low)} to {number(high)}"
    return chart(about, *parts, height=_HEIGHT)
