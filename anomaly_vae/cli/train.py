"""``anomaly-vae train``."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomaly_vae.cli import options
from anomaly_vae.cli.mixed_up import refuse_model_as_table
from anomaly_vae.cli.reporting import EXIT_INTERRUPTED, require_training, warn
from anomaly_vae.cli.summary import print_summary
from anomaly_vae.cli.table_options import missing_values, read_options, say_how_it_was_read
from anomaly_vae.errors import ConfigError, GateFailed, InvalidInput
from anomaly_vae.training.config import LIKELIHOODS, TrainConfig, read_toml

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anomaly_vae.columns.findings import Finding
    from anomaly_vae.table import ReadOptions
    from anomaly_vae.training.checkpoint import Checkpoint
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
@click.option("--target-fpr", type=options.Rate, help="Share of normal rows that may be flagged.  [default: 0.01]")
@click.option(
    "--seed",
    "random_state",
    type=click.IntRange(0, 2**32 - 1),
    help="The same seed gives the same model on one machine.  [default: 0]",
)
@click.option(
    "--latent-dim",
    type=click.IntRange(1, 1024),
    help="Number of latent dimensions.  [default: from the number of columns, less those that the model leaves unused]",
)
@click.option("--hidden", help="Widths of the hidden layers, such as 128,128.  [default: from the number of columns]")
@click.option(
    "--search",
    type=click.Choice(["off", "fast", "full"]),
    help="Settings to try: off: one; fast: two, scored as an ensemble; full: up to seven.  [default: fast]",
)
@click.option("--ensemble", type=click.Choice(["1", "2", "4", "8", "16"]), help="Number of models in the ensemble.")
@click.option(
    "--likelihood", type=click.Choice(LIKELIHOODS), help="Distribution p(x|z) of columns of numbers.  [default: auto]"
)
@click.option(
    "--prior",
    type=click.Choice(["auto", "normal", "mixture"]),
    help="p(z): N(0, I), or a mixture of Gaussians that is learned.  [default: auto, the mixture]",
)
@click.option(
    "--decoder-variance",
    type=click.Choice(["learned", "fixed", "conditional"]),
    help="Variance of Gaussian columns given z.  [default: learned]",
)
@click.option(
    "--column-transform",
    type=click.Choice(["auto", "standardise"]),
    help="auto also transforms skewed columns.  [default: auto]",
)
@click.option(
    "--trim-fraction",
    type=click.FloatRange(0.0, 0.5),
    help="Share of INPUT that may be anomalies; these rows are not trained on.  [default: 0]",
)
@click.option("--beta", type=click.FloatRange(0.0, 1e3), help="Weight of the KL term in training.  [default: 1]")
@click.option(
    "--kl-warmup",
    type=click.FloatRange(0.0, 1.0),
    help="Share of steps over which that weight rises from 0.  [default: 0.3]",
)
@click.option(
    "--free-bits",
    type=click.FloatRange(0.0, 100.0),
    help="Nats of KL per latent dimension that cost nothing.  [default: 0]",
)
@click.option(
    "--masking", type=click.FloatRange(0.0, 1.0), help="Share of steps that train with missing cells.  [default: 0.1]"
)
@click.option(
    "--max-steps",
    type=click.IntRange(1),
    help="Largest number of optimiser steps.  [default: 2.5 for each training row, between 2,000 and 8,000; with "
    "--search off half of that]",
)
@click.option(
    "--max-epochs", type=click.IntRange(1), help="Largest number of passes over the rows.  [default: no limit]"
)
@click.option("--device", help="auto, cpu, cuda or another torch device.  [default: auto]")
@missing_values
@read_options
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
    strict: bool,
    as_json: bool,
    resume: bool,
    force: bool,
    overwrite: bool,
    quiet: bool,
    hidden: str | None,
    ensemble: str | None,
    reading: ReadOptions,
    **parameters: Any,
) -> int:
    """Train a model on the normal rows of INPUT.

    INPUT is a .csv, .tsv, .parquet, .arrow, .feather, .jsonl or .npy file, also .gz or .zst, a folder or a pattern of
    such files, or - for CSV on standard input.

    Columns may hold numbers (also $1,200.50 or 12 %), text (categories), dates and times; empty cells, NA and the like
    are missing values. Columns that cannot be learned, such as identifiers and free text, are left out, with one line
    each; `profile` shows beforehand what happens to each column. To change it, write a [columns] table in the --config
    file: zip = "categorical", visits = "count", when = ["time_of_day", "trend"], notes = "exclude".

    10 % of the rows decide when to stop, 20 % calibrate the threshold (at most 20,000 rows each), and the rest train
    the model. The defaults suit most tables. Rows with unreadable cells are left out with a warning. An option on the
    command line has priority over the --config file.

    Ctrl-C stops the training and keeps the best model so far (exit code 130). A long run saves its state beside OUTPUT
    from time to time; if it is cut off, the same command with --resume continues it, with the same result as without
    the interruption. A model that fails a release gate is not written (exit code 5); to write it without training it
    again, add --resume --force.

    \b
    anomaly-vae train normal.csv -o model
    anomaly-vae train history.parquet -o model --label is_fraud --exclude id --target-fpr 0.001
    """  # noqa: D301 (a backspace tells click to keep the line breaks of a paragraph)
    require_training()
    from anomaly_vae.bundle.files import refuse_output, write_bundle
    from anomaly_vae.cli.findings import as_json as findings_as_json
    from anomaly_vae.cli.findings import refuse_left_out, show_findings
    from anomaly_vae.cli.train_summary import describe, facts_of, quality_of
    from anomaly_vae.cli.training_input import Selection, read_training_input
    from anomaly_vae.table import open_table

    start = time.monotonic()
    checkpoint_path = output.absolute().parent / f".{output.name}.checkpoint"
    if resume and output.exists() and not overwrite and not checkpoint_path.exists():
        click.echo(f"{output} is complete; there is nothing to resume", err=True)
        return 0
    refuse_output(output, overwrite=overwrite or (resume and checkpoint_path.exists()))
    parameters["missing_values"] = parameters["missing_values"] or None
    settings = _settings(config, hidden, parameters | {"ensemble": None if ensemble is None else int(ensemble)})
    selection = Selection(columns=columns, exclude=exclude, label=label)
    refuse_model_as_table(input_)
    table = open_table(input_, reading)
    say_how_it_was_read(table, quiet=quiet)
    rows = read_training_input(table, settings, selection, quiet=quiet)
    found: list[Finding] = []

    def on_findings(findings: Sequence[Finding]) -> None:
        found.extend(findings)
        try:
            refuse_left_out(findings, None if strict else frozenset(columns))
        except InvalidInput as error:
            facts = {"error": str(error), "findings": findings_as_json(findings)}
            print_summary("", facts, as_json=as_json, quiet=True)
            raise
        show_findings(findings, quiet=quiet)

    from anomaly_vae.training.checkpoint import Checkpoint
    from anomaly_vae.training.pipeline import train_table
    from anomaly_vae.training.progress_bar import training_progress

    checkpoint = Checkpoint(checkpoint_path, resume=resume)
    with training_progress(enabled=not quiet, terminal=sys.stderr.isatty()) as bars:
        model = train_table(
            rows.table,
            settings,
            label=label,
            checkpoint=checkpoint,
            report=bars.report,
            on_calibrated=bars.on_calibrated,
            on_findings=on_findings,
        )
    interrupted = model.bundle.manifest.training.interrupted
    _check_gates(model, checkpoint, force=force or interrupted)
    write_bundle(model.bundle, output, overwrite=overwrite or resume)
    if not interrupted:
        checkpoint.remove()
    quality = quality_of(model, rows)
    facts = facts_of(model, found, quality, round(time.monotonic() - start, 3))
    text = "" if as_json else describe(model, rows, quality, output)
    if as_json or not quiet:
        print_summary(text, {"output": str(output), **facts}, as_json=as_json, quiet=quiet)
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
