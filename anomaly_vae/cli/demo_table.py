"""The demo of a table: malignant tumours among benign ones."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from anomaly_vae.batch import score_table
from anomaly_vae.bundle.files import write_bundle
from anomaly_vae.cli.demo_report import next_steps, print_report, save_picture
from anomaly_vae.cli.demo_service import check_service
from anomaly_vae.cli.training_input import read_training_input
from anomaly_vae.scorer import load
from anomaly_vae.table import open_table
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.demo_data import write_tables
from anomaly_vae.training.pipeline import train_table
from anomaly_vae.training.progress_bar import training_progress

__all__ = ["run"]

# Chosen, not measured: the demo has 50 calibration rows, and a rate of 0.01 needs 99.
_TARGET_FPR = 0.05
_KEPT = ("malignant",)


def run(output: Path, seed: int, *, quiet: bool) -> None:
    """Train, score and serve; everything is written to ``output``."""
    output.mkdir(parents=True, exist_ok=True)
    train, held_out, model = output / "train.csv", output / "held_out.csv", output / "model"
    write_tables(train, held_out, seed)

    table = open_table(str(train))
    config = TrainConfig(random_state=seed, target_fpr=_TARGET_FPR)
    rows = read_training_input(table, config, quiet=True).table
    if not quiet:
        click.echo(f"Training on {len(rows.rows)} benign tumours, {len(table.names)} columns ({train})")
    with training_progress(enabled=not quiet, terminal=sys.stderr.isatty()) as bars:
        trained = train_table(rows, config, report=bars.report, on_calibrated=bars.on_calibrated)
    if trained.bundle.manifest.training.interrupted:
        raise KeyboardInterrupt
    write_bundle(trained.bundle, model, overwrite=True)

    scorer = load(model)
    scores = output / "scores.csv"
    score_table(scorer, open_table(str(held_out)), str(scores), keep=_KEPT, overwrite=True)
    over_grpc, worst = output / "scores_over_grpc.csv", output / "worst.csv"
    served = check_service(model, held_out, scores, over_grpc, worst, _KEPT)
    picture = output / "scores.png"
    print_report(scorer, scores, worst, quiet=quiet)
    save_picture(scorer, scores, picture)
    click.echo(served)
    if not quiet:
        commands = (
            f"inspect {model}",
            f"score {model} {held_out} -o - --top 20 --explain 3 --keep malignant",
            f"serve {model}",
            "train YOUR_NORMAL_ROWS.csv -o model",
        )
        click.echo(next_steps(picture, commands))
