"""``anomaly-vae demo``: train, score and serve on a real table, in a folder that the user can continue with."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click

from anomaly_vae.cli import options
from anomaly_vae.cli.reporting import require_serving, require_training
from anomaly_vae.errors import ConfigError
from anomaly_vae.training.config import TrainConfig

# Chosen, not measured: the demo has 50 calibration rows, and a rate of 0.01 needs 99.
_TARGET_FPR = 0.05
_KEPT = ("malignant",)


@click.command("demo")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("anomaly-vae-demo"),
    show_default=True,
    help="Folder for the tables, the model, the scores and the picture.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="The same seed gives the same model on one machine.",
)
@options.overwrite
@options.quiet
@options.verbose
def command(output: Path, seed: int, overwrite: bool, quiet: bool) -> None:
    """Find malignant tumours in scikit-learn's breast-cancer table, with a model trained on benign ones only.

    The demo trains a model, scores rows that it has not seen, starts a service, scores the same rows over gRPC, and
    checks that both results are equal. It takes less than a minute on two cores and needs the [train] and [serve]
    extras.

    \b
    anomaly-vae demo
    anomaly-vae demo -o my-demo --seed 1
    """  # noqa: D301 (a backspace tells click to keep the line breaks of a paragraph)
    require_training()
    require_serving()
    if output.exists() and not overwrite:
        raise ConfigError(f"{output} exists already; choose another folder with -o, or pass --overwrite")
    from anomaly_vae.batch import score_table
    from anomaly_vae.bundle.files import write_bundle
    from anomaly_vae.cli.demo_report import print_report, save_picture
    from anomaly_vae.cli.demo_service import check_service
    from anomaly_vae.cli.training_input import read_training_input
    from anomaly_vae.scorer import load
    from anomaly_vae.table import open_table
    from anomaly_vae.training.demo_data import write_tables
    from anomaly_vae.training.pipeline import train_table
    from anomaly_vae.training.progress_bar import training_progress

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
    served = check_service(model, held_out, scores, output / "scores_over_grpc.csv", _KEPT)
    picture = output / "scores.png"
    print_report(scorer, scores, quiet=quiet)
    save_picture(scorer, scores, picture)
    click.echo(served)
    if not quiet:
        click.echo(_next_steps(output))


def _next_steps(output: Path) -> str:
    program = _program()
    return f"""
Look at   {output / "scores.png"}
Next      {program} inspect {output / "model"}
          {program} score {output / "model"} {output / "held_out.csv"} -o - --keep malignant
          {program} serve {output / "model"}
          {program} train YOUR_NORMAL_ROWS.csv -o model"""


def _program() -> str:
    """Return the command that starts this program, also from an environment that is not active."""
    if shutil.which("anomaly-vae"):
        return "anomaly-vae"
    return f"{sys.executable} -m anomaly_vae" if sys.argv[0].endswith("__main__.py") else sys.argv[0]
