"""``anomaly-vae demo``: train, score and serve on real data, in a folder that the user can continue with."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from anomaly_vae.cli import options
from anomaly_vae.cli.reporting import require_serving, require_training
from anomaly_vae.errors import ConfigError


@click.command("demo")
@click.option(
    "--kind",
    type=click.Choice(["table", "series", "image"]),
    default="table",
    show_default=True,
    help="What to find anomalies in.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("anomaly-vae-demo"),
    show_default=True,
    help="Folder for the data, the model, the scores and the picture.",
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
def command(kind: Literal["table", "series", "image"], output: Path, seed: int, overwrite: bool, quiet: bool) -> None:
    """Find anomalies in real data, with a model trained on normal data only.

    --kind table finds malignant tumours in scikit-learn's breast-cancer table. --kind series finds the two strongest
    El Niño events in sea temperatures, which statsmodels has. --kind image finds letters, inverted images and noise
    among scikit-learn's handwritten digits. Nothing is downloaded.

    The demo trains a model, scores data that it has not seen, starts a service, scores the same data over gRPC, and
    checks that both results are equal. It takes about a minute on two cores and needs the [train] and [serve] extras.

    \b
    anomaly-vae demo
    anomaly-vae demo --kind series -o el-nino
    anomaly-vae demo -o my-demo --seed 1
    """  # noqa: D301 (a backspace tells click to keep the line breaks of a paragraph)
    require_training()
    require_serving()
    if output.exists() and not overwrite:
        raise ConfigError(f"{output} exists already; choose another folder with -o, or pass --overwrite")
    if kind == "table":
        from anomaly_vae.cli.demo_table import run
    elif kind == "series":
        from anomaly_vae.cli.demo_series import run
    else:
        from anomaly_vae.cli.demo_images import run
    run(output, seed, quiet=quiet)
