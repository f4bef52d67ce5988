"""``anomaly-vae report``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anomaly_vae.cli import options
from anomaly_vae.cli.image_options import image_options
from anomaly_vae.cli.mixed_up import refuse_swapped, refuse_table_as_model
from anomaly_vae.cli.summary import print_summary
from anomaly_vae.cli.table_options import missing_values, read_options
from anomaly_vae.errors import ConfigError

if TYPE_CHECKING:
    from anomaly_vae.cli.image_options import ImageOptions
    from anomaly_vae.table import ReadOptions

# Worst rows of a page, at most. Chosen, not measured: it bounds the size of the file.
_MOST_WORST = 100


@click.command("report")
@click.argument("model", metavar="MODEL", type=options.ModelPath(Path))
@click.argument("input_", metavar="[INPUT]", type=options.table_path, required=False)
@click.option("-o", "--output", required=True, type=options.PagePath(), help="File to write, such as r.html.")
@click.option(
    "--worst",
    type=click.IntRange(0, _MOST_WORST),
    default=12,
    show_default=True,
    help="Most anomalous rows of INPUT to show, with the columns to blame.",
)
@click.option("--title", help="Heading of the page.  [default: the name of MODEL]")
@missing_values
@read_options
@image_options
@options.threads
@options.overwrite
@options.as_json
@options.quiet
@options.verbose
def command(
    model: Path,
    input_: str | None,
    output: Path,
    worst: int,
    title: str | None,
    missing_values: tuple[str, ...],
    reading: ReadOptions,
    images: ImageOptions,
    threads: int | None,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write a page of HTML about MODEL, and about the rows of INPUT if there is one.

    The page shows what the model is for, its columns, how its training went, the release gates, the calibration with
    the threshold, and a map of its latent space. With INPUT, a table, series or images as for `score`, it also shows
    their p-values, how precise the scores are, and the most anomalous rows with the columns to blame.

    The page is one file without scripts. It loads nothing, so it can be sent by mail and opened without a network. It
    holds values of the most anomalous rows, and category names of the training data.

    \b
    anomaly-vae report model -o model.html
    anomaly-vae report model new.csv -o new.html
    anomaly-vae report model new.csv -o new.html --worst 30 --title "Payments, week 12"
    """  # noqa: D301 (a backspace tells click to keep the line breaks of a paragraph)
    from anomaly_vae.cli.model_input import ModelInput
    from anomaly_vae.cli.report_job import report_of, write_report
    from anomaly_vae.scorer import load
    from anomaly_vae.storage import refuse_file

    start = time.monotonic()
    refuse_file(output, overwrite=overwrite)
    if model.parts[:1] in (("grpc:",), ("grpcs:",)):
        raise ConfigError("MODEL is a service; `anomaly-vae report` needs the directory of the model that it serves")
    if input_ is None:
        refuse_table_as_model(model)
    else:
        refuse_swapped(model, input_)
    given = None if input_ is None else ModelInput(input_, reading, missing_values, images)
    scorer = load(model, threads=threads)
    report = report_of(scorer, title or model.absolute().name, given, worst, quiet=quiet)
    write_report(report, output, overwrite=overwrite)
    facts = {
        "input": input_,
        "worst": [] if report.input is None else [row.name for row in report.input.worst],
        "bytes": output.stat().st_size,
        "bundle_digest": scorer.bundle.digest,
        "seconds": round(time.monotonic() - start, 3),
    }
    text = f"a page of {facts['bytes']:,} bytes; open it in a browser"
    print_summary(text, facts, as_json=as_json, quiet=quiet, output=str(output))
