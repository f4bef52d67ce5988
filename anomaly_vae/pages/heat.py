"""Heat maps: a table of values as colours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from anomaly_vae.arrays import FloatArray
from anomaly_vae.pages.colours import LEVELS, levels_of
from anomaly_vae.pages.svg import chart, label, tag
from anomaly_vae.pages.texts import number, short

__all__ = ["heat_map"]

# Sizes in units of the chart, and letters of a name that fit.
_WIDTH, _NAMES, _LINE, _LETTERS = 800.0, 76.0, 20.0, 18
_TILT = 104.0


def heat_map(
    values: FloatArray, row_names: Sequence[str], column_names: Sequence[str], title: str, unit: str
) -> Markup:
    """Return a heat map; the palest colour is 0 and less, the strongest one the largest value, the others logarithmic.

    Args:
        values: Shape (rows, columns); NaN has no colour.
        row_names, column_names: What stands beside and above the cells.
        title: What the picture shows.
        unit: That of the values.
    """
    rows, columns = values.shape
    size = min((_WIDTH - _NAMES - 40.0) / max(columns, 1), 40.0)
    finite = values[np.isfinite(values)]
    high = float(finite.max()) if len(finite) else 1.0
    with np.errstate(invalid="ignore"):
        sizes = np.log1p(np.maximum(values, 0.0))
    levels = levels_of(sizes.ravel(), 0.0, float(np.log1p(max(high, 1.0)))).reshape(values.shape)
    parts = list[str]()
    for c, name in enumerate(column_names):
        x, y = _NAMES + (c + 0.6) * size, _TILT - 4.0
        turn = f"rotate(-55 {x:.1f} {y:.1f})"
        parts.append(tag("text", short(name, _LETTERS), tag("title", name), x=x, y=y, class_="tick", transform=turn))
    for r, row_name in enumerate(row_names):
        y = _TILT + r * _LINE
        parts.append(label(row_name, _NAMES - 6.0, y + 14.0, "tick", text_anchor="end"))
        for c, name in enumerate(column_names):
            value = float(values[r, c])
            parts.append(
                tag(
                    "rect",
                    tag("title", f"{row_name}, {name}: {number(value)} {unit}"),
                    x=_NAMES + c * size,
                    y=y,
                    width=size - 1.0,
                    height=_LINE - 1.0,
                    class_=f"h{levels[r, c]}" if np.isfinite(value) else "none",
                )
            )
    width = max(_NAMES + columns * size + 60.0, 300.0)
    bottom = _TILT + rows * _LINE + 18.0
    parts += [
        tag("rect", x=_NAMES + 14.0 * i, y=bottom, width=14.0, height=10.0, class_=f"h{i}") for i in range(LEVELS)
    ]
    parts.append(label("0", _NAMES - 6.0, bottom + 9.0, "tick", text_anchor="end"))
    text = f"{number(max(high, 1.0), 3)} {unit}, logarithmic"
    parts.append(label(text, _NAMES + 14.0 * LEVELS + 6.0, bottom + 9.0, "tick"))
    return chart(title, *parts, width=width, height=bottom + 16.0, class_="wide", is_fixed=True)
