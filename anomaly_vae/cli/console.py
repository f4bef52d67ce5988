"""Progress bars and log lines on standard error."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from anomaly_vae.batch import ScoreSummary
from anomaly_vae.cli.progress_json import JsonLines, Style
from anomaly_vae.progress import Clock, Pace, TimeLeft, spoken
from anomaly_vae.table import Table

__all__ = [
    "RowsDone",
    "bytes_progress",
    "images_progress",
    "rows_progress",
    "said_explained",
    "shown_log",
    "table_progress",
]

# The work of writing the rows with their flags, where they are decided together, as a share of that of scoring them.
# Measured: 1 % for CSV with a small model on two cores.
_WRITING = 0.02

# Takes the work done, all work (None if it is not known), the number of rows as text, the rows done, and the counts.
_Show = Callable[[float, float | None, str, int, ScoreSummary | None], None]


class RowsDone(Protocol):
    """Takes the number of rows just done, a text to show after them, and the counts of the job."""

    def __call__(self, rows: int, more: str = "", counts: ScoreSummary | None = None) -> None:
        """Show the progress."""
        ...


@contextlib.contextmanager
def table_progress(
    title: str, table: Table, *, quiet: bool, style: Style = "auto", clock: Clock = time.monotonic
) -> Iterator[Callable[[ScoreSummary], None] | None]:
    """Yield a callback that shows the progress after each batch; None if ``quiet``.

    On a terminal it draws a bar, elsewhere it prints a plain line from time to time: see
    :class:`anomaly_vae.progress.Pace`. ``style`` asks for one of the two, for JSON, or for nothing.
    """
    with _shown(title, quiet=quiet, style=style, clock=clock) as show:
        if show is None:
            yield None
            return

        def update(summary: ScoreSummary) -> None:
            text = f"{summary.rows:,} rows{_counts(summary)}"
            show(*_with_decision(*table.progress(), summary), text, summary.rows, summary)

        yield update


@contextlib.contextmanager
def rows_progress(
    title: str,
    total: int,
    *,
    quiet: bool,
    what: str = "rows",
    style: Style = "auto",
    clock: Clock = time.monotonic,
) -> Iterator[RowsDone | None]:
    """Yield a callback that takes the number of rows just done and shows the progress, like :func:`table_progress`.

    Args:
        title: Shown before the progress.
        total: Number of rows in all.
        quiet: Yield None instead.
        what: What is counted, if it is not rows.
        style: As for :func:`table_progress`.
        clock: Seconds since some moment.
    """
    with _shown(title, quiet=quiet, style=style, clock=clock) as show:
        if show is None:
            yield None
            return
        done = 0

        def update(rows: int, more: str = "", counts: ScoreSummary | None = None) -> None:
            nonlocal done
            done += rows
            show(done, total, f"{total:,} {what}{more}", done, counts)

        yield update


@contextlib.contextmanager
def bytes_progress(
    title: str, *, quiet: bool, clock: Clock = time.monotonic
) -> Iterator[Callable[[int, int], None] | None]:
    """Yield a callback that takes the number of bytes just done and of all, and shows them like :func:`table_progress`.

    Args:
        title: Shown before the progress.
        quiet: Yield None instead.
        clock: Seconds since some moment.
    """
    with _shown(title, quiet=quiet, style="auto", clock=clock) as show:
        if show is None:
            yield None
            return
        done = 0

        def update(num_bytes: int, total: int) -> None:
            nonlocal done
            done += num_bytes
            show(done, total, f"{total / 1e6:,.1f} MB", 0, None)

        yield update


@contextlib.contextmanager
def images_progress(
    title: str, total: int, *, quiet: bool, style: Style = "auto", clock: Clock = time.monotonic
) -> Iterator[Callable[[ScoreSummary], None] | None]:
    """Yield a callback that takes the counts after each batch of images, like :func:`table_progress`.

    Args:
        title: Shown before the progress.
        total: Number of images in all.
        quiet: Yield None instead.
        style: As for :func:`table_progress`.
        clock: Seconds since some moment.
    """
    with _shown(title, quiet=quiet, style=style, clock=clock) as show:
        if show is None:
            yield None
            return

        def update(summary: ScoreSummary) -> None:
            text = f"{total:,} images{_counts(summary)}"
            show(*_with_decision(summary.rows, total, summary), text, summary.rows, summary)

        yield update


def said_explained(done: RowsDone | None) -> Callable[[ScoreSummary], None] | None:
    """Return a callback that takes the counts and shows how many rows were flagged and explained, beside the rows."""
    return None if done is None else lambda summary: done(0, _counts(summary), summary)


def _counts(summary: ScoreSummary) -> str:
    flagged = f", {summary.anomalies:,} flagged" if summary.anomalies else ""
    explained = f"{flagged}, {summary.explained:,} explained" if summary.explained else flagged
    return explained if summary.decided is None else f"{explained}, {summary.decided:,} decided"


def _with_decision(done: float, total: float | None, summary: ScoreSummary) -> tuple[float, float | None]:
    """Return the work done and all work, with that of writing rows again once all are scored and decided together."""
    if total is None or summary.decided is None:
        return done, total
    return done + _WRITING * total * summary.decided / max(summary.rows, 1), total * (1 + _WRITING)


@contextlib.contextmanager
def shown_log(name: str, *, quiet: bool) -> Iterator[None]:
    """Print the messages of a logger, one per line; print nothing if ``quiet``."""
    logger, handler = logging.getLogger(name), logging.NullHandler() if quiet else _Lines()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        click.echo(record.getMessage(), err=True)


@contextlib.contextmanager
def _shown(title: str, *, quiet: bool, style: Style, clock: Clock) -> Iterator[_Show | None]:
    if quiet or style == "none":
        yield None
    elif style == "json":
        with JsonLines(title, clock) as lines:
            yield lambda done, total, _text, rows, counts: lines.show(done, total, rows, counts)
    elif style == "auto" and sys.stderr.isatty():
        with _bar(title, clock) as show:
            yield show
    else:
        yield _lines(title, clock)


@contextlib.contextmanager
def _bar(title: str, clock: Clock) -> Iterator[_Show]:
    left, speed = TimeLeft(clock), TimeLeft(clock)
    columns = (
        TextColumn(title),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        _Left(left),
    )
    with Progress(*columns, console=Console(file=sys.stderr)) as bar:
        task = bar.add_task("", total=None)

        def show(done: float, total: float | None, text: str, rows: int, _counts: ScoreSummary | None) -> None:
            left.update(done, total)
            speed.update(rows, None)
            bar.update(task, completed=done, total=total, description=f"{text}{_per_second(speed)}")

        yield show


def _lines(title: str, clock: Clock) -> _Show:
    left, speed, pace = TimeLeft(clock), TimeLeft(clock), Pace(clock)

    def show(done: float, total: float | None, text: str, rows: int, _counts: ScoreSummary | None) -> None:
        left.update(done, total)
        speed.update(rows, None)
        if pace.is_due(done, total):
            seconds = left.seconds()
            share = "" if not total else f" {100.0 * done / total:.0f} %,"
            ending = "" if seconds is None else f", {spoken(seconds)} left"
            click.echo(f"{title}:{share} {text}{_per_second(speed)}{ending}", err=True)

    return show


def _per_second(speed: TimeLeft) -> str:
    rate = speed.per_second()
    return "" if rate is None else f", {float(f'{rate:.3g}'):,g}/s"


class _Left(ProgressColumn):
    """The time that is left, counted down between two updates."""

    max_refresh = 0.5

    def __init__(self, left: TimeLeft) -> None:
        super().__init__()
        self._left = left

    def render(self, task: Task) -> Text:  # noqa: ARG002 (rich's signature)
        seconds = self._left.seconds()
        if seconds is None:
            return Text("-:--:--", style="progress.remaining")
        minutes, second = divmod(round(seconds), 60)
        hours, minute = divmod(minutes, 60)
        return Text(f"{hours}:{minute:02d}:{second:02d}", style="progress.remaining")
