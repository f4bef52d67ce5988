"""Progress bars and log lines on standard error."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from anomaly_vae.batch import ScoreSummary
from anomaly_vae.table import Table

__all__ = ["rows_progress", "shown_log", "table_progress"]


@contextlib.contextmanager
def table_progress(title: str, table: Table, *, quiet: bool) -> Iterator[Callable[[ScoreSummary], None] | None]:
    """Yield a callback that draws a progress bar after each batch; None if ``quiet`` or not on a terminal."""
    with _bar(title, quiet=quiet) as bar:
        if bar is None:
            yield None
            return
        task = bar.add_task("", total=None)

        def update(summary: ScoreSummary) -> None:
            done, total = table.progress()
            bar.update(task, completed=done, total=total, description=f"{summary.rows:,} rows")

        yield update


@contextlib.contextmanager
def rows_progress(title: str, total: int, *, quiet: bool) -> Iterator[Callable[[int], None] | None]:
    """Yield a callback that takes the number of rows just done and draws a progress bar.

    Args:
        title: Shown before the bar.
        total: Number of rows in all.
        quiet: Yield None instead, as when standard error is not a terminal.
    """
    with _bar(title, quiet=quiet) as bar:
        if bar is None:
            yield None
            return
        task = bar.add_task(f"{total:,} rows", total=total)
        yield lambda rows: bar.advance(task, rows)


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
def _bar(title: str, *, quiet: bool) -> Iterator[Progress | None]:
    if quiet or not sys.stderr.isatty():
        yield None
        return
    columns = (
        TextColumn(title),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(file=sys.stderr)) as bar:
        yield bar
