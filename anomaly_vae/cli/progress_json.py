"""Progress as JSON for programs: one object a line on standard error."""

from __future__ import annotations

import json
import time
from types import TracebackType
from typing import Any, Literal, Self

import click

from anomaly_vae.batch import ScoreSummary
from anomaly_vae.progress import Clock, TimeLeft

__all__ = ["JsonLines", "Style"]

# How progress is shown: a bar on a terminal and plain lines elsewhere, plain lines, JSON, nothing.
Style = Literal["auto", "lines", "json", "none"]

# Seconds between two lines. Chosen, not measured: a job looks alive, and an hour makes 720 lines.
_SECONDS = 5.0


class JsonLines:
    """Prints a line for the first rows, then one every 5 seconds, and one at the end."""

    def __init__(self, stage: str, clock: Clock = time.monotonic) -> None:
        """Start now.

        Args:
            stage: What is done, such as "scoring".
            clock: Seconds since some moment.
        """
        self._stage, self._clock, self._printed = stage, clock, float("-inf")
        self._left, self._speed = TimeLeft(clock), TimeLeft(clock)
        self._waiting: dict[str, Any] | None = None  # what was not printed yet
        self._counts: ScoreSummary | None = None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Print the last numbers, also of a job that failed: how far it came."""
        if self._waiting is not None:
            self._print(self._waiting)

    def show(self, done: float, total: float | None, rows: int, counts: ScoreSummary | None) -> None:
        """Take the numbers, and print them if a line is due.

        Args:
            done: Work done.
            total: All work, in the same unit; None if it is not known.
            rows: Rows done.
            counts: The counts of the job; None to keep those of before.
        """
        self._left.update(done, total)
        self._speed.update(rows, None)
        self._counts = self._counts if counts is None else counts
        self._waiting = self._facts(done, total, rows)
        if self._clock() - self._printed >= _SECONDS:
            self._print(self._waiting)

    def _facts(self, done: float, total: float | None, rows: int) -> dict[str, Any]:
        counts, rate, seconds = self._counts, self._speed.per_second(), self._left.seconds()
        return {
            "stage": "deciding" if counts is not None and counts.decided is not None else self._stage,
            "rows": rows,
            "total_share": round(min(done / total, 1.0), 4) if total else None,
            "rows_per_second": None if rate is None else float(f"{rate:.4g}"),
            "seconds_left": None if seconds is None else round(seconds, 1),
            "anomalies": None if counts is None else counts.anomalies,
            "unscored": 0 if counts is None else counts.unscored.total(),
        }

    def _print(self, facts: dict[str, Any]) -> None:
        click.echo(json.dumps(facts, allow_nan=False), err=True)
        self._printed, self._waiting = self._clock(), None
