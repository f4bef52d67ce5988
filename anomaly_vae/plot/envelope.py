"""Long series as few points and spans, so that no peak and no flag is lost."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray

__all__ = ["PARTS", "Line", "envelope", "line_of", "median_step", "spans_of"]

# Parts of the width of a picture: about one for each pixel of a panel that is 1,600 pixels wide.
PARTS = 1500

# The points that stand for the values of a part: first, lowest, highest, last.
_POINTS = 4

# Steps between two values from which on they are not joined. Times may be a quarter of a step late or early.
_GAP_STEPS = 1.75


class Line(NamedTuple):
    """A line to draw.

    Attributes:
        x, y: Points, shape (n,); NaN where the line is broken.
        lone: Which points have no neighbour, so that a line does not show them, shape (n,).
    """

    x: FloatArray
    y: FloatArray
    lone: NDArray[np.bool_]


def median_step(x: FloatArray) -> float:
    """Return the median distance of neighbouring times (n,), sorted; 1 if there are none."""
    gaps = np.diff(x)
    gaps = gaps[gaps > 0]
    return float(np.median(gaps)) if len(gaps) else 1.0


def envelope(x: FloatArray, y: FloatArray, first: float, last: float, parts: int = PARTS) -> NDArray[np.intp]:
    """Return the points to draw: of each part of the width the first, the lowest, the highest and the last one.

    Args:
        x: Times, increasing, shape (n,).
        y: Values, NaN for missing ones, which are never drawn, shape (n,).
        first, last: The times at the left and at the right end of the picture.
        parts: Equal parts of the time between them.

    Returns:
        Indices, increasing; all of the values if there are at most four for each part.
    """
    known = np.flatnonzero(~np.isnan(y))
    if len(known) <= _POINTS * parts:
        return known
    place = np.clip((x[known] - first) / (last - first) * parts, 0, parts - 1).astype(np.int64)
    starts = np.flatnonzero(np.diff(place, prepend=-1))
    ends = np.append(starts[1:], len(known)) - 1
    by_value = np.lexsort((y[known], place))
    kept = known[np.unique(np.concatenate([starts, ends, by_value[starts], by_value[ends]]))]
    return np.asarray(kept, dtype=np.intp)


def line_of(x: FloatArray, y: FloatArray, first: float, last: float, parts: int = PARTS) -> Line:
    """Return a series as a line that is broken at gaps; the arguments are those of :func:`envelope`."""
    kept = envelope(x, y, first, last, parts)
    widest = _GAP_STEPS * median_step(x)
    if len(kept) < np.count_nonzero(~np.isnan(y)):
        widest = max(widest, (last - first) / parts)  # narrower gaps cannot be seen
    cuts = np.flatnonzero(np.diff(x[kept]) > widest) + 1
    drawn_x, drawn_y = np.insert(x[kept], cuts, x[kept][cuts]), np.insert(y[kept], cuts, np.nan)
    known = np.concatenate([[False], ~np.isnan(drawn_y), [False]])
    return Line(drawn_x, drawn_y, known[1:-1] & ~known[:-2] & ~known[2:])


def spans_of(x: FloatArray, is_on: NDArray[np.bool_], least_gap: float = 0.0) -> FloatArray:
    """Return the spans of time in which steps are on: half a step before the first to half a step after the last one.

    Args:
        x: Times, increasing, shape (n,).
        is_on: Shape (n,).
        least_gap: Spans that are closer to each other become one.

    Returns:
        First and last time of each span, shape (m, 2). Every step that is on lies in one.
    """
    on = np.flatnonzero(is_on)
    if not len(on):
        return np.empty((0, 2))
    step = median_step(x)
    apart = (np.diff(on) > 1) | (np.diff(x[on]) > _GAP_STEPS * step)
    apart &= np.diff(x[on]) - step > least_gap
    cuts = np.flatnonzero(apart)
    starts, ends = np.append(on[0], on[cuts + 1]), np.append(on[cuts], on[-1])
    return np.stack([x[starts] - step / 2, x[ends] + step / 2], axis=1)
