"""A progress bar of a training run on standard error."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from anomaly_vae.training.loop import Progress

__all__ = ["training_progress"]


@contextlib.contextmanager
def training_progress(*, enabled: bool) -> Iterator[Callable[[Progress], None] | None]:
    """Give a callback for the training loop, or None where nobody looks."""
    if not enabled:
        yield None
        return
    columns = (
        TextColumn("training"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=Console(file=sys.stderr)) as bar:
        task = bar.add_task("warming up", total=None)

        def report(progress: Progress) -> None:
            held_out = progress.held_out
            bar.update(
                task,
                completed=progress.step,
                total=progress.max_steps,
                description=(
                    f"loss {progress.loss:.2f}  held-out ELBO {held_out.elbo:.2f} (best {progress.best_elbo:.2f})  "
                    f"KL {held_out.kl:.2f}  log p(x|z) {held_out.log_likelihood:.2f}"
                ),
            )

        yield report
