"""Leave rows out of series, so that no window covers them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.series.grid import Panel, Series

__all__ = ["without_rows"]


def without_rows(panel: Panel, left_out: NDArray[np.bool_]) -> Panel:
    """Return the panel cut at some rows: what is before and after them is a series of its own, of the same name.

    A missing step would not do: a window may have some, and the steps around an anomaly often belong to it.

    Args:
        panel: The series.
        left_out: Which input rows to leave out, shape (N,).
    """
    return replace(panel, series=tuple(part for series in panel.series for part in _parts(series, left_out)))


def _parts(series: Series, left_out: NDArray[np.bool_]) -> list[Series]:
    gone = left_out[series.rows]
    kept = np.flatnonzero(~gone)
    cuts = np.flatnonzero(np.diff(np.cumsum(gone)[kept]) > 0) + 1  # rows with another number of such rows before them
    return [Series(series.name, series.rows[part], series.steps[part]) for part in np.split(kept, cuts) if len(part)]
