"""``anomaly-vae train``."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomaly_vae.cli import options
from anomaly_vae.cli.reporting import EXIT_INTERRUPTED, require_training, warn
from anomaly_vae.columns.rows import check_names
from anomaly_vae.errors import ConfigError, GateFailed, InvalidInput
from anomaly_vae.training.config import LIKELIHOODS, TrainConfig, read_toml

if TYPE_CHECKING:
    from anomaly_vae.cli.labelled_rows import LabelledRows
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
    resume: bool,
    force: bool,
    overwrite: bool,
    quiet: bool,
    hidden: str | None,
    ensemble: str | None,
    **parameters: Any,
) -> int:
    """Train a model on the normal rows of INPUT (.csv, .parquet, or - for CSV on standard input).

    Columns may hold numbers or text (categories); empty cells are missing values. `inspect` shows the kind of each
    column. To change a kind, write a [columns] table in the --config file: zip = "categorical", visits = "count".

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

    checkpoint_path = output.absolute().parent / f".{output.name}.checkpoint"
    if resume and output.exists() and not overwrite and not checkpoint_path.exists():
        click.echo(f"{output} is complete; there is nothing to resume", err=True)
        return 0
    refuse_output(output, overwrite=overwrite or (resume and checkpoint_path.exists()))
    settings = _settings(config, hidden, parameters | {"ensemble": None if ensemble is None else int(ensemble)})
    names, rows, categories = _read(input_, settings, columns, exclude, label, quiet=quiet)

    from anomaly_vae.training.checkpoint import Checkpoint
    from anomaly_vae.training.pipeline import train_model
    from anomaly_vae.training.progress_bar import training_progress

    checkpoint = Checkpoint(checkpoint_path, resume=resume)
    with training_progress(enabled=not quiet and sys.stderr.isatty()) as bars:
        model = train_model(
            rows.normal,
            names,
            settings,
            categories=categories,
            label=label,
            checkpoint=checkpoint,
            report=bars.report,
            on_calibrated=bars.on_calibrated,
        )
    interrupted = model.bundle.manifest.training.interrupted
    _check_gates(model, checkpoint, force=force or interrupted)
    write_bundle(model.bundle, output, overwrite=overwrite or resume)
    if not interrupted:
        checkpoint.remove()
    if not quiet:
        _summarise(model, rows, categories, output)
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


def _read(
    input_: str,
    settings: TrainConfig,
    columns: tuple[str, ...],
    exclude: tuple[str, ...],
    label: str | None,
    *,
    quiet: bool,
) -> tuple[tuple[str, ...], LabelledRows, dict[str, tuple[str, ...]]]:
    """Return the names of the columns to train on, their rows, and the categories of each text column."""
    from anomaly_vae.cli.labelled_rows import read_normal_rows
    from anomaly_vae.table import CodeBook, open_table

    table = open_table(input_)
    names = _choose(table.names, columns, exclude, label)
    texts = [name for name, kind in settings.columns.items() if kind == "categorical"]
    book = CodeBook(grows=True, text=texts)
    rows = read_normal_rows(table, names, label, book, quiet=quiet)
    return names, rows, book.categories


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


def _choose(
    found: tuple[str, ...], columns: tuple[str, ...], exclude: tuple[str, ...], label: str | None
) -> tuple[str, ...]:
    """Return the columns to train on, in the order of the table."""
    for option, names in (("--columns", columns), ("--exclude", exclude)):
        for name in names:
            if name not in found:
                raise InvalidInput(f"{option} {name}: the input has no such column; it has {', '.join(found[:10])}")
    chosen = tuple(name for name in found if name not in exclude and name != label and (not columns or name in columns))
    if not chosen:
        raise InvalidInput("no column is left to train on")
    check_names(chosen)
    if all(_is_number(name) for name in chosen):
        warn(f"all column names are numbers ({', '.join(chosen[:3])} ...); the first line must be a header")
    return chosen


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def _summarise(model: TrainedModel, rows: LabelledRows, categories: dict[str, tuple[str, ...]], output: Path) -> None:
    training, calibration = model.bundle.manifest.training, model.bundle.manifest.calibration
    schema = model.bundle.manifest.schema
    kinds = Counter(column.kind for column in schema.columns)
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) if len(kinds) > 1 else ""
    lines = [
        f"trained on {training.num_rows:,} rows of {len(schema.columns)} columns"
        + (f" ({counts})" if counts else "")
        + f", best at step {training.best_step} of {training.steps}: held-out ELBO {training.held_out_elbo:.2f} nats",
        f"threshold {calibration.threshold:.6g} nats from {calibration.num_rows:,} calibration rows, "
        f"false-positive rate at most {calibration.effective_fpr:.4g}",
    ]
    if len(rows.anomalous):
        lines.append(_quality(model, rows, categories))
    lines.append(f"wrote {output}; next: anomaly-vae score {output} NEW.csv -o scores.csv")
    click.echo("\n".join(lines), err=True)


def _quality(model: TrainedModel, rows: LabelledRows, categories: dict[str, tuple[str, ...]]) -> str:
    """Return AUROC and average precision of the labelled anomalies against the calibration rows, as a line of text."""
    import numpy as np

    from anomaly_vae.columns.kinds import recode
    from anomaly_vae.scorer import Scorer
    from anomaly_vae.training.quality import detection_quality

    scorer, schema = Scorer(model.bundle), model.bundle.manifest.schema
    anomalous = recode(rows.anomalous, schema, categories)
    scores = scorer.score_rows(anomalous).score
    lowest = min(scores.min(), model.bundle.calibration[0]) - 1.0  # stands for rows that rank below all others
    normal = np.append(model.bundle.calibration, np.full(model.bundle.manifest.calibration.num_novel, lowest))
    quality = detection_quality(normal, np.where(schema.ranks_lowest(anomalous), lowest, scores))
    return (
        f"AUROC {quality.auroc:.4f}, average precision {quality.average_precision:.4f} "
        f"({len(normal):,} calibration rows against {len(rows.anomalous):,} rows marked 1)"
    )
