"""``anomaly-vae train``."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomaly_vae.cli import options
from anomaly_vae.cli.errors import EXIT_INTERRUPTED, require_training, warn
from anomaly_vae.config import LIKELIHOODS, TrainConfig, read_toml
from anomaly_vae.errors import ConfigError, GateFailed, InvalidInput
from anomaly_vae.rows import check_names

if TYPE_CHECKING:
    from anomaly_vae.cli.rows import LabelledRows
    from anomaly_vae.training.pipeline import TrainedModel


@click.command("train")
@click.argument("input_", metavar="INPUT")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Bundle (directory) to write.")
@click.option(
    "--config", type=click.Path(path_type=Path), help="TOML file of parameters, named as in Python (VAEDetector)."
)
@click.option("--label", help="0/1 column: rows marked 1 are kept out of training and used to report AUROC and AP.")
@click.option("--columns", type=options.Names(), default="", help="Train on these columns only, comma-separated.")
@click.option("--exclude", type=options.Names(), default="", help="Leave these columns out, comma-separated.")
@click.option("--target-fpr", type=options.Rate, help="Share of normal rows that may be flagged.  [default: 0.01]")
@click.option(
    "--seed", "random_state", type=click.IntRange(0, 2**32 - 1), help="Seed of everything random.  [default: 0]"
)
@click.option("--latent-dim", type=click.IntRange(1, 1024), help="Latent dimensions.  [default: from the columns]")
@click.option("--hidden", help="Widths of the hidden layers, such as 128,128.  [default: from the columns]")
@click.option(
    "--search",
    type=click.Choice(["off", "fast", "full"]),
    help="Settings to try: one, two scored as a mixture, or six.  [default: fast]",
)
@click.option("--ensemble", type=click.Choice(["1", "2", "4", "8", "16"]), help="Models in the mixture.")
@click.option("--likelihood", type=click.Choice(LIKELIHOODS), help="p(x|z) of numbers.  [default: auto]")
@click.option(
    "--decoder-variance",
    type=click.Choice(["learned", "fixed", "conditional"]),
    help="Variance of Gaussian heads.  [default: learned]",
)
@click.option(
    "--column-transform",
    type=click.Choice(["standardise", "auto"]),
    help="auto: bend skewed columns.  [default: standardise]",
)
@click.option(
    "--trim-fraction", type=click.FloatRange(0.0, 0.5), help="Share of rows that may be anomalies.  [default: 0]"
)
@click.option("--beta", type=click.FloatRange(0.0, 1e3), help="Weight of the KL term in training.  [default: 1]")
@click.option(
    "--kl-warmup", type=click.FloatRange(0.0, 1.0), help="Share of steps over which it rises.  [default: 0.3]"
)
@click.option("--free-bits", type=click.FloatRange(0.0, 100.0), help="Nats of KL a latent has free.  [default: 0]")
@click.option("--masking", type=click.FloatRange(0.0, 1.0), help="Share of steps with hidden cells.  [default: 0.1]")
@click.option(
    "--max-steps", type=click.IntRange(1), help="Limit in optimiser steps.  [default: 900; 400 with --search off]"
)
@click.option("--max-epochs", type=click.IntRange(1), help="Limit in passes over the rows.  [default: none]")
@click.option("--device", help="auto, cpu, cuda, ...  [default: auto]")
@click.option("--resume", is_flag=True, help="Go on with a run that was cut off, from the file beside the output.")
@click.option("--force", is_flag=True, help="Export a model that failed a release gate all the same.")
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

    Columns may hold numbers or text (categories); empty cells are missing values. `inspect` shows what each column was
    taken for, and a [columns] table in the --config file says otherwise: zip = "categorical", visits = "count".

    Of the rows, 10 % stop the training early and 20 % calibrate the threshold (at most 20,000 each); the rest train. No
    option needs touching. Rows with unreadable cells are left out with a warning. Options win over the --config file.

    Ctrl-C keeps the best model so far (exit code 130). A longer run saves itself beside OUTPUT now and then; cut off,
    the same command with --resume goes on to the same end. A model that fails a release gate is not written (exit code
    5) without --force; with --resume --force it need not be trained again.

    \b
    anomaly-vae train normal.csv -o model
    anomaly-vae train history.parquet -o model --label is_fraud --exclude id --target-fpr 0.001
    """  # noqa: D301 (click reads the backspace as: keep these lines)
    require_training()
    from anomaly_vae.bundle import refuse_output, write_bundle
    from anomaly_vae.cli.rows import read_normal_rows
    from anomaly_vae.table import CodeBook, open_table

    saved = output.absolute().parent / f".{output.name}.checkpoint"
    if resume and output.exists() and not overwrite and not saved.exists():
        click.echo(f"{output} is complete; there is nothing to resume", err=True)
        return 0
    refuse_output(output, overwrite=overwrite or (resume and saved.exists()))
    settings = _settings(config, hidden, parameters | {"ensemble": None if ensemble is None else int(ensemble)})
    table = open_table(input_)
    names = _choose(table.names, columns, exclude, label)
    texts = [name for name, kind in settings.columns.items() if kind == "categorical"]
    book = CodeBook(grows=True, text=texts)
    rows = read_normal_rows(table, names, label, book, quiet=quiet)

    from anomaly_vae.training.checkpoint import Checkpoint
    from anomaly_vae.training.gates import refuse_failed
    from anomaly_vae.training.pipeline import train_model
    from anomaly_vae.training.progress import training_progress

    checkpoint = Checkpoint(saved, resume=resume)
    with training_progress(enabled=not quiet and sys.stderr.isatty()) as bars:
        model = train_model(
            rows.normal,
            names,
            settings,
            categories=book.categories,
            label=label,
            checkpoint=checkpoint,
            report=bars.report,
            on_calibrated=bars.on_calibrated,
        )
    training = model.bundle.manifest.training
    if force or training.interrupted:
        for gate in training.gates:
            if gate.passed is False:
                warn(f"release gate failed: {gate.name}: {gate.detail}")
    else:
        try:
            refuse_failed(training.gates)
        except GateFailed:
            checkpoint.keep()
            raise
    write_bundle(model.bundle, output, overwrite=overwrite or resume)
    if not training.interrupted:
        checkpoint.remove()
    if not quiet:
        _summarise(model, rows, book.categories, output)
    if model.bundle.manifest.training.interrupted:
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


def _choose(
    found: tuple[str, ...], columns: tuple[str, ...], exclude: tuple[str, ...], label: str | None
) -> tuple[str, ...]:
    """The columns to train on, in the order of the table."""
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
    told = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) if len(kinds) > 1 else ""
    lines = [
        f"trained on {training.num_rows:,} rows of {len(schema.columns)} columns"
        + (f" ({told})" if told else "")
        + f", best at step {training.best_step} of {training.steps}: held-out ELBO {training.held_out_elbo:.2f} nats",
        f"threshold {calibration.threshold:.6g} nats from {calibration.num_rows:,} calibration rows, "
        f"false-positive rate at most {calibration.effective_fpr:.4g}",
    ]
    if len(rows.anomalous):
        import numpy as np

        from anomaly_vae.kinds import recode
        from anomaly_vae.scorer import Scorer
        from anomaly_vae.training.report import detection_quality

        scorer = Scorer(model.bundle)
        set_aside = recode(rows.normal[model.split.calibration], schema, categories)
        novel = scorer.score_rows(set_aside[schema.is_novel(set_aside)])  # the others' scores are in the bundle
        normal = np.concatenate([model.bundle.calibration, novel.score])
        anomalous = recode(rows.anomalous, schema, categories)
        quality = detection_quality(normal, scorer.score_rows(anomalous).score)
        lines.append(
            f"AUROC {quality.auroc:.4f}, average precision {quality.average_precision:.4f} "
            f"({len(normal):,} calibration rows against {len(rows.anomalous):,} rows marked 1)"
        )
    lines.append(f"wrote {output}; next: anomaly-vae score {output} NEW.csv -o scores.csv")
    click.echo("\n".join(lines), err=True)
