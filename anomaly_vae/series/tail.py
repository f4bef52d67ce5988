"""The last steps of one series that is scored as its values arrive."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.shapes import SeriesShape
from anomaly_vae.errors import InvalidInput
from anomaly_vae.series.clock import shown_time, steps_between
from anomaly_vae.series.grid import most_missing

__all__ = ["Tail", "step_values"]


class Tail:
    """The last steps of one series.

    Attributes:
        lock: Held while a step is added.
        window: The last steps, NaN before the first, shape (length, C); never changed in place.
        filled: Steps since the start or the last long gap, also missing ones; at most ``length``.
        after_gap: Whether a long gap came before.
        last: The time of the last step, seconds; None without times.
    """

    def __init__(self, shape: SeriesShape) -> None:
        self.lock = threading.Lock()
        self.window: FloatArray = np.full(shape.sizes, np.nan)
        self.filled, self.after_gap = 0, False
        self.last: float | None = None

    def pushed(self, seconds: float | None, step: FloatArray, shape: SeriesShape, name: str | None) -> Tail:
        """Return the series with one more step; raise InvalidInput if it does not come after the last one."""
        after = Tail(shape)
        after.last = seconds
        more, is_gap = self._steps_until(seconds, shape, name), False
        if self.filled and more - 1 > most_missing(shape.length):
            is_gap, more = True, 1
        kept = 0 if is_gap else max(min(self.filled, shape.length - more), 0)
        after.window[shape.length - more - kept : shape.length - more] = self.window[shape.length - kept :]
        after.window[-1] = step
        after.filled = 1 if is_gap or not self.filled else min(self.filled + more, shape.length)
        after.after_gap = is_gap or self.after_gap
        return after

    def take(self, after: Tail) -> None:
        """Become the series with one more step."""
        self.window, self.filled, self.after_gap, self.last = after.window, after.filled, after.after_gap, after.last

    def _steps_until(self, seconds: float | None, shape: SeriesShape, name: str | None) -> int:
        """Return the number of steps since the last one, at least 1."""
        of = "" if name is None else f" of series {name!r}"
        if self.filled and (seconds is None) != (self.last is None):
            had, has = ("no times", "a time") if self.last is None else ("times", "no time")
            raise InvalidInput(
                f"timestamp: the steps{of} before had {had}, this one has {has}; give all of them or none",
                field="timestamp",
            )
        if seconds is None or self.last is None or shape.step_seconds is None:
            return 1
        more = steps_between(self.last, seconds, shape.step_seconds)
        if more < 1:
            raise InvalidInput(
                f"timestamp: {shown_time(seconds)} comes less than a step after the last time{of}, "
                f"{shown_time(self.last)}, with a step of {shape.step_seconds:g} s; push the steps in the order of "
                "time, each once, or name the series if there are several",
                field="timestamp",
            )
        return more


def step_values(values: Any, channels: tuple[str, ...]) -> FloatArray:
    """Return the values of one step in the order of the channels, shape (C,)."""
    if hasattr(values, "to_dict"):  # a row of pandas
        values = values.to_dict()
    if isinstance(values, Mapping):
        missing = [name for name in channels if name not in values]
        if missing:
            raise InvalidInput(
                f"values: channel {missing[0]!r} is missing; give all of {', '.join(map(repr, channels))}, None where "
                "there is no value",
                field=missing[0],
            )
        cells = [values[name] for name in channels]
    elif isinstance(values, (str, bytes)) or not hasattr(values, "__iter__") or getattr(values, "ndim", 1) == 0:
        cells = [values]
    else:
        cells = list(values)
    if len(cells) != len(channels):
        raise InvalidInput(
            f"values: got {len(cells)} values, expected {len(channels)}: {', '.join(map(repr, channels))}",
            field="values",
        )
    return np.array([_number(cell, name) for cell, name in zip(cells, channels, strict=True)])


def _number(cell: Any, name: str) -> float:
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):
        return math.nan
    try:
        number = math.inf if isinstance(cell, (str, bytes)) else float(cell)
    except (TypeError, ValueError, OverflowError):
        number = math.inf
    if math.isinf(number):
        raise InvalidInput(
            f"values: channel {name!r} is {repr(cell)[:40]}, expected a finite number; None if it is missing",
            field=name,
        )
    return number
