"""``anomaly-vae train``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomaly_vae.cli import options
from anomaly_vae.cli.errors import EXIT_INTERRUPTED, require_training, warn
from anomaly_vae.config import TrainConfig, read_toml
from anomaly_vae.errors import ConfigError, InvalidInput
from anomaly_vae.schema import check_names

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
    "--decoder-variance", type=click.Choice(["learned", "fixed"]), help="Variance of p(x|z).  [default: learned]"
)
@click.option("--beta", type=click.FloatRange(0.0, 1e3), help="Weight of the KL term in training.  [default: 1]")
@click.option(
    "--kl-warmup", type=click.FloatRange(0.0, 1.0), help="Share of steps over which it rises.  [default: 0.3]"
)
@click.option("--max-steps", type=click.IntRange(1), help="Limit in optimiser steps.  [default: 2000]")
@click.option("--max-epochs", type=click.IntRange(1), help="Limit in passes over the rows.  [default: none]")
@click.option("--device", help="auto, cpu, cuda, ...  [default: auto]")
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
    overwrite: bool,
    quiet: bool,
    hidden: str | None,
    **parameters: Any,
) -> int:
    """Train a model on the normal rows of INPUT (.csv, .parquet, or - for CSV on standard input).

    Of the rows, 10 % stop the training early and 20 % calibrate the threshold (at most 20,000 each); the rest train. No
    option needs touching. Missing cells are refused; rows with unreadable cells are left out with a warning.
    Ctrl-C keeps the best model so far (exit code 130). Options win over the --config file.

    \b
    anomaly-vae train normal.csv -o model
    anomaly-vae train history.parquet -o model --label is_fraud --exclude id --target-fpr 0.001
    """  # noqa: D301 (click reads the backspace as: keep these lines)
    from anomaly_vae.bundle import refuse_output, write_bundle
    from anomaly_vae.cli.rows import read_normal_rows
    from anomaly_vae.table import open_table

    require_training()
    refuse_output(output, overwrite=overwrite)
    settings = _settings(config, hidden, parameters)
    table = open_table(input_)
    names = _choose(table.names, columns, exclude, label)
    rows = read_normal_rows(table, names, label, quiet=quiet, refuse_missing=True)

    from anomaly_vae.training.pipeline import train_model
    from anomaly_vae.training.progress import training_progress

    with training_progress(enabled=not quiet and sys.stderr.isatty()) as bars:
        model = train_model(
            rows.normal, names, settings, label=label, report=bars.report, on_calibrated=bars.on_calibrated
        )
    write_bundle(model.bundle, output, overwrite=overwrite)
    if not quiet:
        _summarise(model, rows, output)
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


def _summarise(model: TrainedModel, rows: LabelledRows, output: Path) -> None:
    training, calibration = model.bundle.manifest.training, model.bundle.manifest.calibration
    schema = model.bundle.manifest.schema
    constant = len(schema.columns) - len(schema.modelled)
    lines = [
        f"trained on {training.num_rows:,} rows of {len(schema.columns)} columns"
        + (f" ({constant} constant)" if constant else "")
        + f", best at step {training.best_step} of {training.steps}: held-out ELBO {training.held_out_elbo:.2f} nats",
        f"threshold {calibration.threshold:.6g} nats from {calibration.num_rows:,} calibration rows, "
        f"false-positive rate at most {calibration.effective_fpr:.4g}",
    ]
    if len(rows.anomalous):
        import numpy as np

        from anomaly_vae.scorer import Scorer
        from anomaly_vae.training.report import detection_quality

        scorer = Scorer(model.bundle)
        set_aside = rows.normal[model.split.calibration]
        novel = scorer.score_rows(set_aside[schema.is_novel(set_aside)])  # the others' scores are in the bundle
        normal = np.concatenate([model.bundle.calibration, novel.log_px])
        quality = detection_quality(normal, scorer.score_rows(rows.anomalous).log_px)
        lines.append(
            f"AUROC {quality.auroc:.4f}, average precision {quality.average_precision:.4f} "
            f"({len(normal):,} calibration rows against {len(rows.anomalous):,} rows marked 1)"
        )
    lines.append(f"wrote {output}; next: anomaly-vae score {output} NEW.csv -o scores.csv")
    click.echo("\n".join(lines), err=True)
