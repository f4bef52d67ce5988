"""The job of ``anomaly-vae score`` for each kind of model: a table, series or images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomaly_vae.cli.reporting import warn
from anomaly_vae.cli.table_options import filter_facts, say_how_it_was_read
from anomaly_vae.errors import ConfigError

if TYPE_CHECKING:
    from anomaly_vae.batch import Explaining, ScoreSummary
    from anomaly_vae.batch.collected import Collector
    from anomaly_vae.cli.cluster_options import ClusterOptions
    from anomaly_vae.cli.job_options import JobOptions
    from anomaly_vae.cli.model_input import ModelInput
    from anomaly_vae.cli.progress_json import Style
    from anomaly_vae.client import Client
    from anomaly_vae.score_options import ScoreOptions
    from anomaly_vae.scorer import Scorer

__all__ = ["Job", "Watchers", "run_job", "say_notes"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is scored, and where the scores go; see the options of `anomaly-vae score`."""

    given: ModelInput
    output: str
    keep: tuple[str, ...]
    options: ScoreOptions
    only_flagged: bool
    top: int | None
    explaining: Explaining | None
    fdr: float | None
    plot: Path | None
    strict: bool
    overwrite: bool
    how: JobOptions
    cluster: ClusterOptions
    model: str
    verify_key: Path | None
    quiet: bool
    report: Path | None = None
    progress: Style = "auto"


@dataclass(frozen=True, kw_only=True)
class Watchers:
    """What sees a job while it runs.

    Attributes:
        collector: Collects what a report shows; None without one.
        on_counts: Called with the counts after each batch.
    """

    collector: Collector | None = None
    on_counts: Callable[[ScoreSummary], None] = field(default=lambda _: None)

    def both(self, on_batch: Callable[[ScoreSummary], None] | None) -> Callable[[ScoreSummary], None]:
        """Return a callback that passes the counts on to the progress, too."""

        def noted(summary: ScoreSummary) -> None:
            self.on_counts(summary)
            if on_batch is not None:
                on_batch(summary)

        return noted


def run_job(job: Job, scorer: Scorer | Client, watchers: Watchers | None = None) -> tuple[ScoreSummary, dict[str, Any]]:
    """Score the input as the model needs it.

    Args:
        job: What is scored.
        scorer: The model.
        watchers: What sees the job while it runs.

    Returns:
        The counts, and facts about series or images for the summary.

    Raises:
        InvalidInput: The input does not fit the model.
        ConfigError: An option is wrong for this kind of model, or the output cannot be written.
    """
    kind, watchers = scorer.schema.kind, watchers or Watchers()
    if kind == "series":
        return _score_series(job, scorer, watchers)
    return _score_images(job, scorer, watchers) if kind == "image" else _score_table(job, scorer, watchers)


def say_notes(notes: tuple[str, ...], *, quiet: bool) -> None:
    """Print what a reader found out, one line each."""
    import click

    for note in () if quiet else notes:
        click.echo(f"anomaly-vae: {note}", err=True)


def _score_table(job: Job, scorer: Scorer | Client, watchers: Watchers) -> tuple[ScoreSummary, dict[str, Any]]:
    from anomaly_vae.batch import score_table
    from anomaly_vae.batch.engine import score_locally
    from anomaly_vae.cli.console import table_progress
    from anomaly_vae.cli.pictures import TableScores
    from anomaly_vae.columns.rows import match_columns

    schema, table = scorer.schema, job.given.table(scorer.schema)
    match_columns(table.names, schema.names)
    say_how_it_was_read(table, schema, quiet=job.quiet)
    keys: Sequence[str] = getattr(table.source, "key_names", ())  # names of folders, not columns of the files
    known = {*schema.names, *schema.left_out, *job.keep, *keys, schema.label, ""}
    _warn_extra_columns(table.names, known, strict=job.strict)
    collected = TableScores(job.plot)
    engine = job.cluster.engine_of(job.model, scorer, job.verify_key)
    with table_progress("scoring", table, quiet=job.quiet, style=job.progress) as on_batch:
        summary = score_table(
            scorer,
            table,
            job.output,
            keep=job.keep,
            options=job.options,
            only_flagged=job.only_flagged,
            top=job.top,
            explaining=job.explaining,
            fdr=job.fdr,
            overwrite=job.overwrite,
            resume=job.how.resume,
            memory=job.how.memory,
            engine=engine or score_locally,
            on_batch=watchers.both(on_batch),
            collector=watchers.collector,
            on_scores=collected.add,
        )
    for text in summary.skipped.values():
        warn(f"left out: {text}")
    collected.draw(scorer.thresholds(target_fpr=job.options.target_fpr, tail=job.options.tail))
    facts = filter_facts(table, quiet=job.quiet)
    return summary, facts if engine is None else {**facts, **engine.facts()}


def _score_series(job: Job, scorer: Scorer | Client, watchers: Watchers) -> tuple[ScoreSummary, dict[str, Any]]:
    from anomaly_vae.batch import read_series, score_series
    from anomaly_vae.batch.series_input import series_names
    from anomaly_vae.batch.series_scoring import check_series_options
    from anomaly_vae.cli.console import rows_progress, said_explained, table_progress
    from anomaly_vae.cli.pictures import draw_series
    from anomaly_vae.columns.shapes import SeriesShape

    check_series_options(job.options)
    job.how.refuse("the model scores windows of series")
    job.cluster.refuse("the model scores windows of series")
    schema, table = scorer.schema, job.given.table(scorer.schema)
    if not isinstance(schema.shape, SeriesShape):
        raise TypeError("the model is not one of series")
    with table_progress("reading", table, quiet=job.quiet, style=job.progress) as on_batch:
        series = read_series(table, schema, job.output, job.keep, on_batch)
    say_how_it_was_read(table, schema, quiet=job.quiet)
    say_notes(series.panel.notes, quiet=job.quiet)
    inputs = {each.name for each in schema.shape.inputs}
    known = {*series_names(schema.shape), *inputs, *job.keep, schema.label, ""}
    _warn_extra_columns(table.names, known, strict=job.strict)
    windows = series.num_windows
    with rows_progress("scoring", windows, quiet=job.quiet, style=job.progress) as on_windows:
        summary, scores = score_series(
            scorer,
            series,
            job.output,
            options=job.options,
            only_flagged=job.only_flagged,
            top=job.top,
            explaining=job.explaining,
            fdr=job.fdr,
            overwrite=job.overwrite,
            on_windows=on_windows,
            on_batch=watchers.both(said_explained(on_windows)),
            collector=watchers.collector,
        )
    if job.plot is not None:
        thresholds = scorer.thresholds(target_fpr=job.options.target_fpr, tail=job.options.tail)
        draw_series(job.plot, series, scores, thresholds, title=job.given.path)
    facts: dict[str, Any] = {"kind": "series", "series": len(series.panel.series), "windows": windows}
    facts |= filter_facts(table, quiet=job.quiet)
    return summary, {**facts, "window": series.shape.length, "step_seconds": series.panel.step_seconds}


def _score_images(job: Job, scorer: Scorer | Client, watchers: Watchers) -> tuple[ScoreSummary, dict[str, Any]]:
    from anomaly_vae.batch import score_images
    from anomaly_vae.cli.console import images_progress
    from anomaly_vae.cli.pictures import ImageScores

    job.how.refuse("the model scores images")
    job.cluster.refuse("the model scores images")
    if job.keep:
        raise ConfigError("--keep is for tables; the output for images has their names in the column image")
    source = job.given.images(scorer.schema)
    say_notes(source.notes, quiet=job.quiet)
    collected = ImageScores(job.plot, heat=job.explaining is not None)
    with images_progress("scoring", len(source), quiet=job.quiet, style=job.progress) as on_batch:
        summary = score_images(
            scorer,
            source,
            job.output,
            options=job.options,
            only_flagged=job.only_flagged,
            top=job.top,
            explaining=job.explaining,
            fdr=job.fdr,
            overwrite=job.overwrite,
            on_batch=watchers.both(on_batch),
            collector=watchers.collector,
            on_scored=collected.add,
        )
    collected.draw(scorer, source.names, title=job.given.path)
    facts = {"kind": "image", "size": list(source.shape.sizes)}
    return summary, {**facts, "mean_bits_per_dim": collected.mean_bits}


def _warn_extra_columns(found: tuple[str, ...], known: set[str | None] | set[str], *, strict: bool) -> None:
    extra = [name for name in found if name not in known]
    if not extra:
        return
    text = f"input columns that the model does not use: {', '.join(extra[:5])}"
    if len(extra) > 5:
        text += f" and {len(extra) - 5} more"
    if strict:
        raise ConfigError(f"{text}; remove them, or leave out --strict to ignore them")
    warn(f"{text}; ignored")
