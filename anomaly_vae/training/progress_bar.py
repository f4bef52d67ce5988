"""The progress of training and calibration, on standard error."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from anomaly_vae.progress import Clock, Pace
from anomaly_vae.training.loop import Progress

__all__ = ["ProgressCallbacks", "training_progress"]


class ProgressCallbacks(NamedTuple):
    """Callbacks for :func:`anomaly_vae.training.pipeline.train_model`; None without a display.

    Attributes:
        report: Takes the title of a model and its progress.
        on_calibrated: Takes the number of calibration rows scored since the last call.
    """

    report: Callable[[str, Progress], None] | None = None
    on_calibrated: Callable[[int], None] | None = None


@contextlib.contextmanager
def training_progress(
    *, enabled: bool, terminal: bool = True, clock: Clock = time.monotonic
) -> Iterator[ProgressCallbacks]:
    """Show the progress of training and calibration, or nothing if not enabled.

    Args:
        enabled: Whether to show anything.
        terminal: Draw a bar. Otherwise print a plain line from time to time: see :class:`anomaly_vae.progress.Pace`.
        clock: Seconds since some moment.
    """
    if not enabled:
        yield ProgressCallbacks()
    elif terminal:
        with _bar() as callbacks:
            yield callbacks
    else:
        yield _lines(clock)


@contextlib.contextmanager
def _bar() -> Iterator[ProgressCallbacks]:
    columns = (
        TextColumn("{task.fields[stage]}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=Console(file=sys.stderr)) as bar:
        training = bar.add_task("warming up", total=None, stage="training   ")
        calibration = bar.add_task("rows scored", total=None, stage="calibrating", visible=False)

        def report(title: str, progress: Progress) -> None:
            bar.update(
                training,
                stage=f"{title:<12}",
                completed=progress.step,
                total=progress.max_steps,
                description=_figures(progress),
            )

        def on_calibrated(rows: int) -> None:
            bar.update(calibration, advance=rows, visible=True)

        yield ProgressCallbacks(report, on_calibrated)


def _lines(clock: Clock) -> ProgressCallbacks:
    pace = Pace(clock)
    scored = 0

    def report(title: str, progress: Progress) -> None:
        if pace.is_due(progress.step, progress.max_steps):
            print(f"{title}: step {progress.step:,} of {progress.max_steps:,}, {_figures(progress)}", file=sys.stderr)

    def on_calibrated(rows: int) -> None:
        nonlocal scored
        scored += rows
        if pace.is_due(scored, None):
            print(f"calibrating: {scored:,} rows scored", file=sys.stderr)

    return ProgressCallbacks(report, on_calibrated)


def _figures(progress: Progress) -> str:
    held_out = progress.held_out
    return (
        f"loss {progress.loss:.2f}  held-out ELBO {held_out.elbo:.2f} (best {progress.best_elbo:.2f})  "
        f"KL {held_out.kl:.2f}  log p(x|z) {held_out.log_likelihood:.2f}"
    )
