"""``anomaly-vae encode``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anomaly_vae.cli import options
from anomaly_vae.cli.mixed_up import refuse_swapped
from anomaly_vae.cli.reporting import warn
from anomaly_vae.cli.summary import print_summary
from anomaly_vae.cli.table_options import missing_values, read_options, say_how_it_was_read

if TYPE_CHECKING:
    from anomaly_vae.table import ReadOptions


@click.command("encode")
@click.argument("model", metavar="MODEL", type=options.ModelPath(Path))
@click.argument("input_", metavar="INPUT", type=options.table_path)
@options.output_table
@options.keep
@missing_values
@read_options
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
    missing_values: tuple[str, ...],
    reading: ReadOptions,
    threads: int | None,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write the position of each row of INPUT in the latent space of MODEL: the mean of q(z|x), columns z0, z1, ...

    Use it for plots and for clustering; it is not an anomaly score. For an ensemble, the columns of its members stand
    side by side. Rows that cannot be read get empty cells.

    \b
    anomaly-vae encode model new.csv -o latent.csv --keep id
    """  # noqa: D301 (a backspace tells click to keep the line breaks of a paragraph)
    from anomaly_vae.batch import encode_table
    from anomaly_vae.cli.console import table_progress
    from anomaly_vae.scorer import load
    from anomaly_vae.storage import refuse_file
    from anomaly_vae.table import check_ending, open_table

    start = time.monotonic()
    if output != "-":
        refuse_file(check_ending(output), overwrite=overwrite)
    refuse_swapped(model, input_)
    table = open_table(input_, reading, missing_values)
    scorer = load(model, threads=threads)
    say_how_it_was_read(table, scorer.schema, quiet=quiet)
    with table_progress("encoding", table, quiet=quiet) as on_batch:
        summary = encode_table(scorer, table, output, keep=keep, overwrite=overwrite, on_batch=on_batch)
    digest, seconds = scorer.bundle.digest, round(time.monotonic() - start, 3)
    facts = {**summary.facts(), "bundle_digest": digest, "seconds": seconds}
    print_summary(summary.describe(), facts, as_json=as_json, quiet=quiet, output=output)
    if quiet and summary.unscored and not as_json:
        warn(summary.describe())
