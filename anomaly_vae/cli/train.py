"""``anomaly-vae train``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from anomaly_vae.cli import options
from anomaly_vae.cli.mixed_up import refuse_model_as_table
from anomaly_vae.cli.reporting import EXIT_INTERRUPTED, require_training, warn
from anomaly_vae.cli.summary import print_summary
from anomaly_vae.cli.table_options import missing_values, read_options, refuse_filter
from anomaly_vae.cli.training_options import image_options, model_options, window_options
from anomaly_vae.errors import ConfigError, GateFailed
from anomaly_vae.training.config import TrainConfig, read_toml

if TYPE_CHECKING:
    from anomaly_vae.cli.training_job import TrainingJob
    from anomaly_vae.columns.image_layouts import Layout
    from anomaly_vae.table import ReadOptions
    from anomaly_vae.training.checkpoint import Checkpoint
    from anomaly_vae.training.group import Group
    from anomaly_vae.training.pipeline import TrainedModel


@click.command("train")
@click.argument("input_", metavar="INPUT")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Model (directory) to write.")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="TOML file with parameters; their names are those of VAEDetector in Python.",
)
@click.option(
    "--label",
    help="0/1 column. Rows with 1 (anomalies) are not trained on; they are used to report AUROC and average precision.",
)
@click.option(
    "--columns", type=options.Names(), default="", help="Columns to train on, comma-separated.  [default: all]"
)
@click.option("--exclude", type=options.Names(), default="", help="Columns to leave out, comma-separated.")
@model_options
@window_options
@image_options
@missing_values
@read_options
@click.option(
    "--report",
    type=options.PagePath(),
    metavar="FILE.html",
    help="Also write a page about the model, as `report` does, with the columns that were left out and why.",
)
@click.option("--strict", is_flag=True, help="Refuse an INPUT with columns that cannot be used, naming all of them.")
@options.as_json
@click.option("--resume", is_flag=True, help="Continue a run that was cut off, from the file beside OUTPUT.")
@click.option("--force", is_flag=True, help="Write the model even if it fails a release gate.")
@options.overwrite
@options.quiet
@options.verbose
def command(
    input_: str,
    output: Path,
    config: Path | None,
    label: str | None,
    columns: tuple[str, ...],
    exclude: tuple[str, ...],
    report: Path | None,
    strict: bool,
    as_json: bool,
    resume: bool,
    force: bool,
    overwrite: bool,
    quiet: bool,
    hidden: str | None,
    ensemble: str | None,
    reading: ReadOptions,
    layout: Layout,
    resize: tuple[int, int] | None,
    channels: str | None,
    image_column: str | None,
    **parameters: Any,
) -> int:
    """Train a model on the normal rows, time series or images of INPUT.

    INPUT is a .csv, .tsv, .parquet, .arrow, .feather, .jsonl or .npy file, also .gz or .zst, a folder or a pattern of
    such files, also in an object store (s3://, gs://, az://), or - for CSV on standard input. Images are a folder of
    PNG and JPEG files, a .npy array (images, height, width, channels), an idx file or a column of a Parquet file; the
    kind is found by what INPUT holds.

    \b
    anomaly-vae train normal.csv -o model
    anomaly-vae train history.parquet -o model --label is_fraud --exclude id --target-fpr 0.001
    anomaly-vae train metrics.csv -o model --window 64 --timestamp time --series host
    anomaly-vae train photos/ -o model --resize 64x64

    TABLES. Columns may hold numbers (also $1,200.50 or 12 %), text (categories), dates and times; empty cells, NA and
    the like are missing values. Columns that cannot be learned, such as identifiers and free text, are left out, with
    one line each; `profile` shows beforehand what happens to each column. To change it, write a [columns] table in the
    --config file: zip = "categorical", visits = "count", when = ["time_of_day", "trend"], notes = "exclude". Rows with
    unreadable cells are left out with a warning.

    TIME SERIES, with --window. Each row is one step, and each other column a channel of numbers. The model learns
    windows of consecutive steps; the score of a step is that of the window that ends there. Rows are sorted by time,
    and a step without a row is missing; no window spans a long gap or two series. Steps with the label 1 are in no
    window. Calibration windows overlap, so that fewer of them count.

    IMAGES. All have one size, or --resize makes one. Images that cannot be read are left out with a warning. A --label
    is possible where a Parquet file has such a column.

    10 % of the rows decide when to stop, 20 % calibrate the threshold (at most 20,000 rows each), and the rest train
    the model. The defaults suit most data. An option on the command line has priority over the --config file.

    Ctrl-C stops the training and keeps the best model so far (exit code 130). A long run saves its state beside OUTPUT
    from time to time; if it is cut off, the same command with --resume continues it, with the same result as without
    the interruption. A model that fails a release gate is not written (exit code 5); to write it without training it
    again, add --resume --force.

    `torchrun --nproc-per-node N -m anomaly_vae train ...` trains the same model in N processes, each with its own GPU
    if there are GPUs. Ctrl-C then stops without a model.
    """  # noqa: D301 (a backspace tells click to keep the line breaks of a paragraph)
    require_training()
    from anomaly_vae.cli.image_training import ImageJob, ImageOptions, holds_images
    from anomaly_vae.cli.processes import refuse_stdin, train_in_group
    from anomaly_vae.cli.series_training import SeriesJob
    from anomaly_vae.cli.table_training import TableJob
    from anomaly_vae.cli.training_input import Selection

    def read(group: Group) -> TrainingJob:
        refuse_stdin(group, input_)
        parameters["missing_values"] = parameters["missing_values"] or None
        settings = _settings(config, hidden, parameters | {"ensemble": None if ensemble is None else int(ensemble)})
        selection = Selection(columns=columns, exclude=exclude, label=label)
        refuse_model_as_table(input_)
        images = ImageOptions(layout, resize, None if channels is None else int(channels), image_column)
        if holds_images(input_, settings, images):
            refuse_filter(reading)
            return ImageJob(input_, settings, images, selection, quiet=quiet)
        if settings.window is not None:
            return SeriesJob(input_, settings, reading, selection, quiet=quiet)
        return TableJob(input_, settings, reading, selection, strict=strict, as_json=as_json, quiet=quiet)

    wanted = _Wanted(output, report, resume=resume, overwrite=overwrite, force=force, as_json=as_json, quiet=quiet)
    return train_in_group(lambda group: _train(group, read, wanted))


class _Wanted(NamedTuple):
    """What to write, and what to print."""

    output: Path
    report: Path | None
    resume: bool
    overwrite: bool
    force: bool
    as_json: bool
    quiet: bool

    @property
    def state(self) -> Path:
        """The file of the checkpoint."""
        return self.output.absolute().parent / f".{self.output.name}.checkpoint"

    @property
    def replaces(self) -> bool:
        """Whether files at the places of the results are replaced."""
        return self.overwrite or self.resume

    @property
    def is_complete(self) -> bool:
        """Whether a run to resume has ended."""
        return self.resume and self.output.exists() and not self.overwrite and not self.state.exists()

    def checkpoint(self) -> Checkpoint:
        """Open the checkpoint; raise ConfigError if the results cannot be written."""
        from anomaly_vae.bundle.files import refuse_output
        from anomaly_vae.storage import refuse_file
        from anomaly_vae.training.checkpoint import Checkpoint

        refuse_output(self.output, overwrite=self.overwrite or (self.resume and self.state.exists()))
        if self.report is not None:
            refuse_file(self.report, overwrite=self.replaces)
        return Checkpoint(self.state, resume=self.resume)


def _train(group: Group, read: Callable[[Group], TrainingJob], wanted: _Wanted) -> int:
    """Read the input, train, and write the model; process 0 of several writes."""
    from anomaly_vae.cli.processes import together
    from anomaly_vae.training.checkpoint import Checkpoint
    from anomaly_vae.training.progress_bar import training_progress

    start = time.monotonic()
    if group.same(wanted.is_complete):
        click.echo(f"{wanted.output} is complete; there is nothing to resume", err=True)
        return 0

    def prepare() -> tuple[Checkpoint, TrainingJob]:
        checkpoint = wanted.checkpoint() if group.is_lead else Checkpoint(None, resume=False)
        return checkpoint, read(group)

    checkpoint, job = together(group, prepare)
    checkpoint.share(group)
    with training_progress(enabled=not wanted.quiet, terminal=sys.stderr.isatty()) as bars:
        model = job.train(checkpoint, bars)
    return _finish(wanted, job, model, checkpoint, start)


def _finish(wanted: _Wanted, job: TrainingJob, model: TrainedModel, checkpoint: Checkpoint, start: float) -> int:
    """Write the model, print the summary, and return the exit code; ``start`` is in seconds of the monotonic clock."""
    from anomaly_vae.bundle.files import write_bundle
    from anomaly_vae.cli.train_report import write_training_report
    from anomaly_vae.cli.train_summary import describe, facts_of

    output, report, as_json = wanted.output, wanted.report, wanted.as_json
    interrupted = model.bundle.manifest.training.interrupted
    _check_gates(model, checkpoint, force=wanted.force or interrupted)
    write_bundle(model.bundle, output, overwrite=wanted.replaces)
    if not interrupted:
        checkpoint.remove()
    quality = job.quality(model)
    if report is not None:
        write_training_report(model.bundle, job, quality, output, report, overwrite=wanted.replaces)
    facts = facts_of(model, job, quality, round(time.monotonic() - start, 3))
    facts |= {} if report is None else {"report": str(report)}
    text = "" if as_json else describe(model, job, quality, output) + ("" if report is None else f"\nwrote {report}")
    if as_json or not wanted.quiet:
        print_summary(text, {"output": str(output), **facts}, as_json=as_json, quiet=wanted.quiet)
    if interrupted:
        click.echo("anomaly-vae: interrupted; the best model so far was kept", err=True)
        return EXIT_INTERRUPTED
    return 0


def _settings(config: Path | None, hidden: str | None, parameters: dict[str, Any]) -> TrainConfig:
    values = {"random_state": 0} | (read_toml(config) if config else {})
    values |= {name: value for name, value in parameters.items() if value is not None}
    if hidden is not None:
        try:
            values["hidden"] = [int(width) for width in hidden.split(",")]
        except ValueError as error:
            raise ConfigError(f"--hidden must be widths such as 128,128, got {hidden!r}") from error
    return TrainConfig(**values)


def _check_gates(model: TrainedModel, checkpoint: Checkpoint, *, force: bool) -> None:
    """Raise GateFailed if the model failed a release gate; with ``force``, print a warning for each failed gate."""
    from anomaly_vae.training.gates import refuse_failed

    gates = model.bundle.manifest.training.gates
    if force:
        for gate in gates:
            if gate.passed is False:
                warn(f"release gate failed: {gate.name}: {gate.detail}")
        return
    try:
        refuse_failed(gates)
    except GateFailed:
        checkpoint.save_finished()  # so that --resume --force can write the model without training it again
        raise
