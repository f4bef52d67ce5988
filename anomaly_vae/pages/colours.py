"""Values as colours: classes of a page, which light and dark pages define in their own way."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.pages.svg import WIDTH, label, tag
from anomaly_vae.pages.texts import number

__all__ = ["LEVELS", "levels_of", "scale_bar"]

# Colours of a scale: the classes s0 to s8.
LEVELS = 9


def levels_of(values: FloatArray, low: float, high: float) -> NDArray[np.intp]:
    """Return the colour of each value, 0 to LEVELS - 1; values beyond a limit have the colour of that end."""
    if not high > low:
        return np.full(len(values), LEVELS - 1, dtype=np.intp)
    with np.errstate(invalid="ignore"):
        scaled = np.nan_to_num((values - low) / (high - low) * LEVELS, nan=0.0, posinf=LEVELS, neginf=0.0)
    return np.clip(scaled, 0, LEVELS - 1).astype(np.intp)


def scale_bar(low: float, high: float, text: str, y: float) -> Markup:
    """Return the colours from low to high in a row, with both numbers and what they are."""
    size, start = 12.0, WIDTH - 10.0 - 12.0 * LEVELS - 40.0
    cells = [tag("rect", x=start + i * size, y=y - 9.0, width=size, height=10.0, class_=f"s{i}") for i in range(LEVELS)]
    return Markup().join(
        [
            label(f"{text} {number(low, 3)}", start - 6.0, y, "tick", text_anchor="end"),
            *cells,
            label(number(high, 3), start + size * LEVELS + 6.0, y, "tick"),
        ]
    )
