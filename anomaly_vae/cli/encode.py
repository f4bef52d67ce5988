"""``anomaly-vae encode``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anomaly_vae.cli import options
from anomaly_vae.cli.image_options import image_options
from anomaly_vae.cli.mixed_up import refuse_swapped
from anomaly_vae.cli.reporting import warn
from anomaly_vae.cli.summary import print_summary
from anomaly_vae.cli.table_options import missing_values, read_options

if TYPE_CHECKING:
    from anomaly_vae.cli.image_options import ImageOptions
    from anomaly_vae.table import ReadOptions


@click.command("encode")
@click.argument("model", metavar="MODEL", type=options.ModelPath(Path))
@click.argument("input_", metavar="INPUT", type=options.table_path)
@options.output_table
@options.keep
@options.plot
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
    input_: str,
    output: str,
    keep: tuple[str, ...],
    plot: Path | None,
    missing_values: tuple[str, ...],
    reading: ReadOptions,
    images: ImageOptions,
    threads: int | None,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write the position of each row of INPUT in the latent space of MODEL: the mean of q(z|x), columns z0, z1, ...

    Use it for plots and for clustering; it is not an anomaly score. For an ensemble, the columns of its members stand
    side by side. Rows that cannot be read get empty cells.

    For a model of series, each row has the position of the window that ends there. For a model of images there is a
    row for each image, with its name in the column image. --plot draws a map of the positions: with more than two
    dimensions, their first two principal directions.

    \b
    anomaly-vae encode model new.csv -o latent.csv --keep id
    anomaly-vae encode image-model photos/ -o latent.csv --plot map.png
    """  # noqa: D301 (a backspace tells click to keep the line breaks of a paragraph)
    from anomaly_vae.cli.encode_jobs import EncodeJob, run_encode_job
    from anomaly_vae.cli.model_input import ModelInput
    from anomaly_vae.cli.pictures import check_plot
    from anomaly_vae.scorer import load
    from anomaly_vae.storage import refuse_file
    from anomaly_vae.table import check_ending

    start = time.monotonic()
    if output != "-":
        refuse_file(check_ending(output), overwrite=overwrite)
    refuse_swapped(model, input_)
    check_plot(plot, overwrite=overwrite)
    given = ModelInput(input_, reading, missing_values, images)
    scorer = load(model, threads=threads)
    job = EncodeJob(given=given, output=output, keep=keep, plot=plot, overwrite=overwrite, quiet=quiet)
    summary = run_encode_job(job, scorer)
    digest, seconds = scorer.bundle.digest, round(time.monotonic() - start, 3)
    facts = {**summary.facts(), "bundle_digest": digest, "seconds": seconds}
    print_summary(summary.describe(), facts, as_json=as_json, quiet=quiet, output=output)
    if quiet and summary.has_faults and not as_json:
        warn(summary.describe())
