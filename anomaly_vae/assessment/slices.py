"""Parts of the rows by the values of a column, and how the model does on each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.assessment.proportions import Proportion, proportion
from anomaly_vae.assessment.ranking import auroc, count_levels
from anomaly_vae.record import Record

__all__ = ["Slice", "Slicing", "assess_slices", "slicing_of"]

# Values of a column that get a slice each; the others share one. Chosen, not measured.
_MOST_VALUES = 20

# A column of numbers with more different values is cut at its quartiles. Chosen, not measured.
_MOST_LEVELS = 10

# Digits of a number that is the name of a part: more, if the names of two would be the same.
_DIGITS = (6, 9, 17)

# Normal rows below which a slice is marked as small. Chosen, not measured: the interval is then over 0.1 wide.
_SMALL = 50

# Times that are this far apart are named by their days. Times of day without a date are times of the first day of 1970.
_DAYS_WITHOUT_HOURS, _YEAR_OF_CLOCKS = timedelta(days=10), 1970

_MISSING, _OTHERS = "missing", "other values"


class Slicing(NamedTuple):
    """Parts of N rows.

    Attributes:
        column: The column whose values make the parts.
        values: The value of each part, in words.
        parts: The part of each row, an index into values, shape (N,).
    """

    column: str
    values: tuple[str, ...]
    parts: NDArray[np.int64]


class Slice(Record):
    """How a model does on a part of the rows.

    Attributes:
        column, value: What these rows share.
        rows: Number of rows.
        anomalies: Anomalies among them.
        false_positives: The share of normal rows that is flagged; None without normal rows. The intervals of all slices
            hold at once with the confidence of the evaluation.
        recall: The share of anomalies that is flagged; None without anomalies.
        auroc: Of these rows alone; None if one of the classes has no row.
        is_small: Whether there are fewer than 50 normal rows.
        above_promise: Whether the interval of the false-positive rate lies above the promise.
    """

    column: str
    value: str
    rows: int
    anomalies: int
    false_positives: Proportion | None
    recall: Proportion | None
    auroc: float | None
    is_small: bool
    above_promise: bool


def slicing_of(column: str, cells: Sequence[Any]) -> Slicing:
    """Divide rows by the values of a column: each value is a part, and of many numbers each quarter of the rows.

    Args:
        column: Its name.
        cells: Its values, N: numbers, truth values, texts or times (datetime); None and NaN are missing. Texts count as
            numbers if all of them are.
    """
    times = [cell for cell in cells if isinstance(cell, datetime)]
    if len(set(times)) > _MOST_LEVELS:
        seconds = [math.nan if cell is None else (cell - times[0]).total_seconds() for cell in cells]
        return _quarters(column, np.array(seconds), _names_of_times(times))
    numbers = _as_numbers(cells)
    if numbers is not None and len(np.unique(numbers[~np.isnan(numbers)])) > _MOST_LEVELS:
        return _quarters(column, numbers, lambda number: f"{number:.6g}")
    texts = _as_texts(cells, numbers)
    counts = Counter(texts)
    known = [text for text, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    shown = sorted(known[:_MOST_VALUES], key=_order_of)
    values = (*shown, *([_OTHERS] if len(known) > _MOST_VALUES else []))
    places = {text: i for i, text in enumerate(shown)}
    parts = np.array([places.get(text, len(shown)) for text in texts], dtype=np.int64)
    return Slicing(column, values, parts)


def _as_numbers(cells: Iterable[Any]) -> FloatArray | None:
    try:
        return np.array([_number(cell) for cell in cells], dtype=np.float64)
    except (TypeError, ValueError):
        return None


def _number(cell: Any) -> float:
    if isinstance(cell, bool):
        raise TypeError("a truth value is no number")
    return math.nan if cell is None or cell == "" else float(cell)


def _as_texts(cells: Iterable[Any], numbers: FloatArray | None) -> list[str]:
    if numbers is not None:
        known = {number for number in numbers.tolist() if not math.isnan(number)}
        digits = next(
            n for n in _DIGITS if len({f"{number:.{n}g}" for number in known}) == len(known) or n == _DIGITS[-1]
        )
        return [_MISSING if math.isnan(number) else f"{number:.{digits}g}" for number in numbers.tolist()]
    return [_MISSING if cell is None or cell == "" else str(cell) for cell in cells]


def _order_of(text: str) -> tuple[bool, float, str]:
    """Sort numbers by their size, texts by the alphabet, and missing cells last."""
    try:
        return text == _MISSING, float(text), text
    except ValueError:
        return text == _MISSING, math.inf, text


def _names_of_times(times: Sequence[datetime]) -> Callable[[float], str]:
    """Return what names a time by its seconds since the first one: with hours, if all are within some days."""
    pattern = "%H:%M" if max(times).year == _YEAR_OF_CLOCKS else "%Y-%m-%d %H:%M"
    if max(times) - min(times) >= _DAYS_WITHOUT_HOURS:
        pattern = "%Y-%m-%d"
    return lambda seconds: (times[0] + timedelta(seconds=seconds)).strftime(pattern)


def _quarters(column: str, numbers: FloatArray, name_of: Callable[[float], str]) -> Slicing:
    known = numbers[~np.isnan(numbers)]
    edges = np.unique(np.quantile(known, [0.25, 0.5, 0.75]))
    shown = [name_of(edge) for edge in edges.tolist()]
    names = [f"up to {shown[0]}", *(f"{low} to {high}" for low, high in pairwise(shown)), f"above {shown[-1]}"]
    parts = np.searchsorted(edges, numbers, side="left")
    is_missing = np.isnan(numbers)
    if is_missing.any():
        parts = np.where(is_missing, len(names), parts)
        names.append(_MISSING)
    return Slicing(column, tuple(names), parts.astype(np.int64))


def assess_slices(
    slicings: Sequence[Slicing],
    levels: NDArray[np.int64],
    flags: NDArray[np.bool_],
    labels: NDArray[np.bool_],
    limit: float,
    confidence: float,
) -> list[Slice]:
    """Return how a model does on each part that has rows.

    No promise is made for a part of the rows: the false-positive rate of one may be higher, that of another lower.

    Args:
        slicings: Parts of the N rows by column.
        levels: The rows in order of anomaly; see :func:`anomaly_vae.assessment.ranking.levels_of`, shape (N,).
        flags: Which rows are flagged, shape (N,).
        labels: Which rows are anomalies, shape (N,).
        limit: The promised false-positive rate.
        confidence: That of all intervals together (Bonferroni).
    """
    chosen = [
        (slicing.column, value, slicing.parts == i)
        for slicing in slicings
        for i, value in enumerate(slicing.values)
        if (slicing.parts == i).any()
    ]
    each = 1.0 - (1.0 - confidence) / max(len(chosen), 1)
    return [_slice(*part, levels, flags, labels, limit, each) for part in chosen]


def _slice(
    column: str,
    value: str,
    mask: NDArray[np.bool_],
    levels: NDArray[np.int64],
    flags: NDArray[np.bool_],
    labels: NDArray[np.bool_],
    limit: float,
    confidence: float,
) -> Slice:
    is_anomaly, flagged = labels[mask], flags[mask]
    anomalies, rows = int(is_anomaly.sum()), int(mask.sum())
    found = proportion(int(flagged[~is_anomaly].sum()), rows - anomalies, confidence)
    area = auroc(count_levels(np.unique(levels[mask], return_inverse=True)[1], is_anomaly))
    return Slice(
        column=column,
        value=value,
        rows=rows,
        anomalies=anomalies,
        false_positives=found,
        recall=proportion(int(flagged[is_anomaly].sum()), anomalies, confidence),
        auroc=None if math.isnan(area) else area,
        is_small=rows - anomalies < _SMALL,
        above_promise=found is not None and found.low > limit,
    )
