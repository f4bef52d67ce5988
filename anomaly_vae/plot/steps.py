"""The rows of a table as series to draw: their times, in order, and which series come first."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.errors import InvalidInput
from anomaly_vae.series.clock import epoch_seconds, to_seconds
from anomaly_vae.series.results import SeriesScores

__all__ = ["Drawn", "drawn_series", "times_of"]

# Numbers from here on are drawn as dates: as seconds since 1970, this is 1973.
_FIRST_DATE = 1e8

_SECONDS_PER_DAY = 86_400.0


class Drawn(NamedTuple):
    """One series to draw.

    Attributes:
        name: Of the series; None if there is only one without a name.
        rows: Its input rows in the order of time, shape (n,).
        x: Their places on the axis of time, increasing, shape (n,): days since 1970 for dates, otherwise numbers.
    """

    name: str | None
    rows: NDArray[np.intp]
    x: FloatArray


def times_of(times: Any, num_rows: int) -> tuple[FloatArray, bool]:
    """Return the times of rows, NaN for missing ones, and whether they are dates, as days since 1970.

    Args:
        times: Datetimes (of Python, numpy or pandas), texts, numbers, or None if the rows are the steps.
        num_rows: The number of rows.

    Raises:
        InvalidInput: There are more or fewer times than rows, or one is no time.
    """
    if times is None:
        return np.arange(num_rows, dtype=np.float64), False
    array = np.asarray(times)
    if array.ndim != 1 or len(array) != num_rows:
        raise InvalidInput(f"times: shape {array.shape}, expected one for each of {num_rows} rows", field="times")
    if array.dtype.kind == "M":
        micros = array.astype("datetime64[us]")
        days = micros.astype(np.int64) / (1e6 * _SECONDS_PER_DAY)
        return np.where(np.isnat(micros), np.nan, days), True
    if array.dtype.kind in "iuf":
        seconds, is_date = array.astype(np.float64), False
    else:
        seconds = np.array([np.nan if _is_missing(each) else to_seconds(each) for each in array.tolist()])
        is_date = not any(isinstance(each, (int, float)) for each in array[:1].tolist())
    seconds = epoch_seconds(seconds)
    known = seconds[~np.isnan(seconds)]
    is_date = is_date or bool(len(known) and known.min() >= _FIRST_DATE)
    return (seconds / _SECONDS_PER_DAY if is_date else seconds), is_date


def drawn_series(x: FloatArray, names: Sequence[Any] | None, scores: SeriesScores) -> list[Drawn]:
    """Return the series, the most anomalous first: by the lowest p-value, then by the lowest score.

    Rows without a time or a name are left out.

    Raises:
        InvalidInput: There are more or fewer names than rows.
    """
    if names is not None and len(names) != len(x):
        raise InvalidInput(f"names: {len(names)} names, expected one for each of {len(x)} rows", field="names")
    known = ~np.isnan(x)
    if names is None:
        members = {None: np.flatnonzero(known)}
    else:
        codes = dict[Any, int]()
        code = np.array([-1 if _is_missing(name) else codes.setdefault(name, len(codes)) for name in names])
        order = np.argsort(code, kind="stable")
        borders = np.searchsorted(code[order], np.arange(len(codes) + 1))
        parts = [order[start:end] for start, end in pairwise(borders.tolist())]
        members = {name: rows[known[rows]] for name, rows in zip(codes, parts, strict=True)}
    series = [
        Drawn(None if name is None else str(name), rows[order := np.argsort(x[rows], kind="stable")], x[rows][order])
        for name, rows in members.items()
        if len(rows)
    ]
    return sorted(series, key=lambda each: _anomaly_of(scores, each.rows))


def _anomaly_of(scores: SeriesScores, rows: NDArray[np.intp]) -> tuple[float, float]:
    """Return what is lowest for the most anomalous series."""
    score = scores.score[rows]
    if np.isnan(score).all():
        return np.inf, np.inf
    p_value = np.inf if scores.p_value is None else float(np.nanmin(scores.p_value[rows]))
    return p_value, float(np.nanmin(score))


def _is_missing(value: Any) -> bool:
    return value is None or type(value).__name__ in ("NaTType", "NAType") or value != value
