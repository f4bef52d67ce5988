"""``anomaly-vae sample``."""

from __future__ import annotations

import time
from pathlib import Path

import click

from anomaly_vae.cli import options
from anomaly_vae.cli.mixed_up import refuse_table_as_model
from anomaly_vae.cli.summary import print_summary


@click.command("sample")
@click.argument("model", metavar="MODEL", type=options.ModelPath(Path))
@click.option(
    "-n", "--rows", "num_rows", type=click.IntRange(1, 10**9), default=1000, show_default=True, help="Number of rows."
)
@options.output_table
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="The same seed gives the same rows."
)
@options.overwrite
@options.as_json
@options.quiet
@options.verbose
def command(model: Path, num_rows: int, output: str, seed: int, overwrite: bool, as_json: bool, quiet: bool) -> None:
    """Draw synthetic rows from MODEL, with the columns and units of its training table.

    The rows show what the model considers normal. They are not copies of training rows, but they are not guaranteed to
    protect privacy.

    From a model of images, OUTPUT is a .npy file with an array (N, height, width), and with the channels as a further
    axis if there are several. From a model of series, it is a .npy file with an array (N, length, channels), or a table
    with one row per step: the columns window and step count from 0, then come the channels.

    \b
    anomaly-vae sample model -n 1000 -o synthetic.csv
    anomaly-vae sample image-model -n 64 -o images.npy
    """  # noqa: D301 (a backspace tells click to keep the line breaks of a paragraph)
    from anomaly_vae.batch import sample_shaped, sample_table
    from anomaly_vae.cli.console import rows_progress
    from anomaly_vae.scorer import load
    from anomaly_vae.storage import refuse_file
    from anomaly_vae.table import check_ending

    start = time.monotonic()
    if output != "-":
        refuse_file(check_ending(output), overwrite=overwrite)
    refuse_table_as_model(model)
    scorer = load(model)
    with rows_progress("sampling", num_rows, quiet=quiet) as on_rows:
        write = sample_table if scorer.schema.shape is None else sample_shaped
        write(scorer, output, num_rows, seed, overwrite=overwrite, on_rows=on_rows)
    digest, seconds = scorer.bundle.digest, round(time.monotonic() - start, 3)
    facts = {"rows": num_rows, "seed": seed, "bundle_digest": digest, "seconds": seconds}
    what = {"table": "rows", "series": "windows", "image": "images"}[scorer.schema.kind]
    print_summary(f"{num_rows:,} {what}", facts, as_json=as_json, quiet=quiet, output=output)
