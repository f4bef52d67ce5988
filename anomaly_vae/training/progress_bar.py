"""A progress bar for training and calibration, on standard error."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

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
def training_progress(*, enabled: bool) -> Iterator[ProgressCallbacks]:
    """Draw a bar for training and a line for calibration, or nothing if not enabled."""
    if not enabled:
        yield ProgressCallbacks()
        return
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
            held_out = progress.held_out
            bar.update(
                training,
                stage=f"{title:<12}",
                completed=progress.step,
                total=progress.max_steps,
                description=(
                    f"loss {progress.loss:.2f}  held-out ELBO {held_out.elbo:.2f} (best {progress.best_elbo:.2f})  "
                    f"KL {held_out.kl:.2f}  log p(x|z) {held_out.log_likelihood:.2f}"
                ),
            )

        def on_calibrated(rows: int) -> None:
            bar.update(calibration, advance=rows, visible=True)

        yield ProgressCallbacks(report, on_calibrated)
