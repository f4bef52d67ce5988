"""Rows with times to series of regular steps.

Every row of a series is some number of whole steps after the row before it; see :func:`~.clock.steps_between`. A step
without a row is a missing one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.errors import InvalidInput
from anomaly_vae.series.clock import median_step, shown_step, shown_time, step_of, steps_between

__all__ = ["NO_NAME", "NO_TIME", "SAME_STEP", "Panel", "Segment", "Series", "make_panel", "most_missing"]

# A longer gap would fill most of a window with steps that nobody measured. Chosen, not measured: a quarter.
_MISSING_SHARE = 0.25

# A time is off the grid if it is further than 3/8 of a step from where its neighbours expect it: times may be a quarter
# of a step late or early, and the median of so few neighbours may be an eighth off. At one half, the number of steps to
# the next time could be one of two.
_MOST_OFF = 0.375

# Neighbours, with the time itself, whose median says where a time is expected. Few, because a clock may drift; chosen,
# not measured.
_NEIGHBOURS = 9

# The share of times that may be off the grid. Chosen, not measured: with more, the series has no regular step.
_MOST_OFF_SHARE = 0.05

# Differences of times that a series needs before its step is compared with that of others: a few rows with gaps
# between them show a multiple of the step. Chosen, not measured.
_LEAST_GAPS = 8

# Differences that are one step up to rounding and jitter; the next multiple has the ratio 2. Chosen, not measured.
_LEAST_RATIO, _MOST_RATIO = 0.75, 4 / 3

# The share of the differences that must be one step: with fewer, the series has another step. Chosen, not measured:
# a series in which most steps are missing still has pairs of neighbours.
_LEAST_SHARE = 0.1

# Why a row belongs to no series, for the results.
NO_TIME = "no time: the timestamp is missing"
NO_NAME = "no series: the name of the series is missing"
SAME_STEP = "same step: the row before it is in the same step of the series"


class Segment(NamedTuple):
    """Consecutive steps of one series, without a long gap.

    Attributes:
        name: The series; None if the panel has one series without a name.
        values: One row per step, NaN for missing cells, shape (T, C). A missing step is NaN in all channels.
        rows: The input row of each step, shape (T,); -1 for a missing step.
        after_gap: Whether a long gap comes before it.
    """

    name: str | None
    values: FloatArray
    rows: NDArray[np.intp]
    after_gap: bool


class Series(NamedTuple):
    """The rows of one series in the order of time.

    Attributes:
        name: As in :class:`Segment`.
        rows: Input rows, shape (n,).
        steps: The step of each row, shape (n,): it increases, and is 0 for the first.
    """

    name: str | None
    rows: NDArray[np.intp]
    steps: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Series of regular steps.

    Attributes:
        values: The values of all input rows, NaN for missing cells, shape (N, C).
        series: The series, in the order of their first row.
        step_seconds: Time between two steps, seconds; None if the rows are the steps, or no series has two rows.
        left_out: The input rows that belong to no series, and why.
        notes: What the user should know, one line each.
    """

    values: FloatArray
    series: tuple[Series, ...]
    step_seconds: float | None
    left_out: dict[int, str]
    notes: tuple[str, ...] = ()

    def segments(self, length: int) -> tuple[Segment, ...]:
        """Return the segments for windows of ``length`` steps, in the order of the series and of time."""
        limit = most_missing(length)
        return tuple(segment for series in self.series for segment in _segments(self.values, series, limit))


def most_missing(length: int) -> int:
    """Return the most consecutive missing steps within a segment; a longer gap ends it."""
    return int(length * _MISSING_SHARE)


def make_panel(
    values: FloatArray,
    times: FloatArray | None = None,
    names: Sequence[str | None] | None = None,
    *,
    step_seconds: float | None = None,
    numbers: NDArray[np.integer] | None = None,
) -> Panel:
    """Return the series in rows.

    Args:
        values: One row per time, NaN for missing cells, shape (N, C).
        times: Seconds, NaN for missing ones, shape (N,); None if the rows of a series are its steps.
        names: The series of each row, None for missing names, shape (N,); None if all rows are one series.
        step_seconds: The expected time between two steps, seconds; None to find it.
        numbers: The number of each row in messages, shape (N,); None to count from 0.

    Raises:
        InvalidInput: A time of a series appears twice, the times have no regular step, or have another one.
    """
    numbers = np.arange(len(values)) if numbers is None else numbers
    left_out = dict[int, str]()
    if times is not None:
        left_out |= dict.fromkeys(np.flatnonzero(np.isnan(times)).tolist(), NO_TIME)
    if names is not None:
        left_out |= {i: NO_NAME for i, name in enumerate(names) if name is None}
    notes = _notes_on(left_out, numbers)
    members = _members(len(values), names, left_out)
    if times is None:
        series = tuple(Series(name, rows, np.arange(len(rows))) for name, rows in members.items())
        return Panel(values=values, series=series, step_seconds=None, left_out=left_out, notes=tuple(notes))
    in_order = {name: rows[np.argsort(times[rows], kind="stable")] for name, rows in members.items()}
    if (unsorted := sum(bool((in_order[name] != rows).any()) for name, rows in members.items())) > 0:
        notes.append(f"the rows of {unsorted} of {len(members)} series were not in the order of time: sorted")
    for name, rows in in_order.items():
        _check_duplicates(name, rows, times, numbers)
    step = _common_step(in_order, times, step_seconds)
    series = tuple(Series(*_on_grid(name, rows, times, step, numbers)) for name, rows in in_order.items())
    same = np.setdiff1d(np.concatenate([*in_order.values(), []]), np.concatenate([*(s.rows for s in series), []]))
    left_out |= dict.fromkeys(same.astype(np.intp).tolist(), SAME_STEP)
    notes += _notes_on(dict.fromkeys(same.astype(np.intp).tolist(), SAME_STEP), numbers)
    return Panel(values=values, series=series, step_seconds=step, left_out=left_out, notes=tuple(notes))


def _members(
    num_rows: int, names: Sequence[str | None] | None, left_out: dict[int, str]
) -> dict[str | None, NDArray[np.intp]]:
    """Return the rows of each series, in the order of the table."""
    used = np.ones(num_rows, dtype=bool)
    used[list(left_out)] = False
    rows = np.flatnonzero(used)
    if names is None:
        return {None: rows}
    codes = dict[str | None, int]()
    code = np.array([codes.setdefault(names[i], len(codes)) for i in rows.tolist()], dtype=np.int64)
    order = np.argsort(code, kind="stable")
    parts = np.split(rows[order], np.searchsorted(code[order], np.arange(1, len(codes))))
    return dict(zip(codes, parts, strict=False))


def _check_duplicates(
    name: str | None, rows: NDArray[np.intp], times: FloatArray, numbers: NDArray[np.integer]
) -> None:
    same = np.flatnonzero(np.diff(times[rows]) == 0)
    if not len(same):
        return
    one, other = (int(numbers[rows[same[0] + i]]) for i in (0, 1))
    remedy = (
        "if the rows are of several series, name the column that tells them apart (series); if the clock was set back "
        "in autumn, write the times in UTC; otherwise leave one of them out"
    )
    raise InvalidInput(
        f"rows {one} and {other}{_of(name)} have the same time {shown_time(float(times[rows[same[0]]]))}; "
        f"{len(same)} such pairs. {remedy[0].upper()}{remedy[1:]}",
        field="timestamp",
    )


def _common_step(
    in_order: dict[str | None, NDArray[np.intp]], times: FloatArray, expected: float | None
) -> float | None:
    """Return the step of all series; raise InvalidInput if two series, or a series and the model, have others."""
    found = {name: step for name, rows in in_order.items() if (step := step_of(times[rows])) is not None}
    if not found:
        return expected
    sure = {name: step for name, step in found.items() if len(in_order[name]) > _LEAST_GAPS}
    step = expected or median_step(list((sure or found).values()))
    for name, own in sure.items():
        ratios = np.diff(times[in_order[name]]) / step
        if np.mean((ratios >= _LEAST_RATIO) & (ratios <= _MOST_RATIO)) < _LEAST_SHARE:
            what = "the model's windows have a step of" if expected else "most series have a step of"
            raise InvalidInput(
                f"the times{_of(name)} are {shown_step(own)} apart, {what} {shown_step(step)}; resample the rows to "
                f"one step, for example with pandas: df.resample('{step:g}s').mean()",
                field="timestamp",
            )
    return step


def _on_grid(
    name: str | None, rows: NDArray[np.intp], times: FloatArray, step: float | None, numbers: NDArray[np.integer]
) -> tuple[str | None, NDArray[np.intp], NDArray[np.int64]]:
    """Return the name, the rows and the step of each row; a second row in a step is left out."""
    if step is None or len(rows) < 2:
        return name, rows, np.zeros(len(rows), dtype=np.int64)
    seconds = times[rows]
    whole = np.rint(np.diff(seconds) / step)
    off = _is_off(seconds / step, whole)
    if (share := float(off.mean())) > _MOST_OFF_SHARE and off.sum() > 1:
        first = max(int(np.flatnonzero(off)[0]), 1)
        time, gap = shown_time(float(seconds[first])), shown_step(float(seconds[first] - seconds[first - 1]))
        raise InvalidInput(
            f"{share:.0%} of the times{_of(name)} are off the step of {shown_step(step)}, first row "
            f"{int(numbers[rows[first]])}: {time} comes {gap} after the time before it. "
            f"Windows need regular steps: resample the rows, for example with pandas: df.resample('{step:g}s').mean(), "
            "or give no timestamp if each row is one step",
            field="timestamp",
        )
    if (whole > 0).all():
        return name, rows, np.concatenate([[0], np.cumsum(whole)]).astype(np.int64)
    kept, steps = [0], [0]
    for i in range(1, len(rows)):  # a row that is left out moves the next one, so this cannot be done at once
        if (more := steps_between(float(seconds[kept[-1]]), float(seconds[i]), step)) > 0:
            kept.append(i)
            steps.append(steps[-1] + more)
    return name, rows[kept], np.array(steps, dtype=np.int64)


def _is_off(clock: FloatArray, whole: FloatArray) -> NDArray[np.bool_]:
    """Return which times are off the grid, shape (n,).

    Args:
        clock: The times in steps, shape (n,).
        whole: The number of steps between neighbouring times, shape (n - 1,).
    """
    late = clock - clock[0] - np.concatenate([[0.0], np.cumsum(whole)])
    around = np.pad(late, _NEIGHBOURS // 2, mode="edge")
    expected = np.median(np.lib.stride_tricks.sliding_window_view(around, _NEIGHBOURS), axis=1)
    off = np.abs(late - expected) > _MOST_OFF
    off[1:] |= whole == 0
    return np.asarray(off)


def _segments(values: FloatArray, series: Series, limit: int) -> list[Segment]:
    """Cut a series at its long gaps, and insert its missing steps."""
    cuts = np.flatnonzero(np.diff(series.steps) > limit + 1) + 1
    found: list[Segment] = []
    for part, steps in zip(np.split(series.rows, cuts), np.split(series.steps, cuts), strict=True):
        if not len(part):
            continue
        places = steps - steps[0]
        rows = np.full(int(places[-1]) + 1, -1, dtype=np.intp)
        rows[places] = part
        steps_of = np.full((len(rows), values.shape[1]), np.nan)
        steps_of[places] = values[part]
        found.append(Segment(series.name, steps_of, rows, after_gap=len(found) > 0))
    return found


def _notes_on(left_out: dict[int, str], numbers: NDArray[np.integer]) -> list[str]:
    """Return one line for each reason why rows belong to no series."""
    reasons = dict.fromkeys(left_out.values())
    rows = {reason: [row for row, why in left_out.items() if why == reason] for reason in reasons}
    return [f"{len(of)} rows are left out, first row {int(numbers[min(of)])}: {reason}" for reason, of in rows.items()]


def _of(name: str | None) -> str:
    return "" if name is None else f" of series {name!r}"
