"""The job of ``anomaly-vae encode`` for each kind of model: a table, series or images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from anomaly_vae.cli.score_jobs import say_notes
from anomaly_vae.cli.table_options import say_how_it_was_read
from anomaly_vae.errors import ConfigError

if TYPE_CHECKING:
    from anomaly_vae.batch import ScoreSummary
    from anomaly_vae.cli.model_input import ModelInput
    from anomaly_vae.cli.pictures import Latents
    from anomaly_vae.scorer import Scorer

__all__ = ["EncodeJob", "run_encode_job"]


@dataclass(frozen=True, kw_only=True)
class EncodeJob:
    """What is encoded, and where the positions go; see the options of `anomaly-vae encode`."""

    given: ModelInput
    output: str
    keep: tuple[str, ...]
    plot: Path | None
    overwrite: bool
    quiet: bool


def run_encode_job(job: EncodeJob, scorer: Scorer) -> ScoreSummary:
    """Encode the input as the model needs it, draw the map if there is one to draw, and return the counts.

    Raises:
        InvalidInput: The input does not fit the model.
        ConfigError: An option is wrong for this kind of model, or the output cannot be written.
    """
    from anomaly_vae.cli.pictures import Latents

    latents = Latents(job.plot)
    run = {"table": _table, "series": _series, "image": _images}[scorer.schema.kind]
    summary = run(job, scorer, latents)
    latents.draw(title=job.given.path)
    return summary


def _table(job: EncodeJob, scorer: Scorer, latents: Latents) -> ScoreSummary:
    from anomaly_vae.batch import encode_table
    from anomaly_vae.cli.console import table_progress

    table = job.given.table(scorer.schema)
    say_how_it_was_read(table, scorer.schema, quiet=job.quiet)
    with table_progress("encoding", table, quiet=job.quiet) as on_batch:
        return encode_table(
            scorer,
            table,
            job.output,
            keep=job.keep,
            overwrite=job.overwrite,
            on_batch=on_batch,
            on_means=latents.add,
        )


def _series(job: EncodeJob, scorer: Scorer, latents: Latents) -> ScoreSummary:
    from anomaly_vae.batch import encode_series, read_series
    from anomaly_vae.cli.console import rows_progress, table_progress

    table = job.given.table(scorer.schema)
    with table_progress("reading", table, quiet=job.quiet) as on_batch:
        series = read_series(table, scorer.schema, job.output, job.keep, on_batch)
    say_how_it_was_read(table, scorer.schema, quiet=job.quiet)
    say_notes(series.panel.notes, quiet=job.quiet)
    with rows_progress("encoding", series.num_windows, quiet=job.quiet) as on_windows:
        return encode_series(
            scorer, series, job.output, overwrite=job.overwrite, on_windows=on_windows, on_means=latents.add
        )


def _images(job: EncodeJob, scorer: Scorer, latents: Latents) -> ScoreSummary:
    from anomaly_vae.batch import encode_images
    from anomaly_vae.cli.console import images_progress

    if job.keep:
        raise ConfigError("--keep is for tables; the output for images has their names in the column image")
    source = job.given.images(scorer.schema)
    say_notes(source.notes, quiet=job.quiet)
    with images_progress("encoding", len(source), quiet=job.quiet) as on_batch:
        return encode_images(
            scorer, source, job.output, overwrite=job.overwrite, on_batch=on_batch, on_means=latents.add
        )
