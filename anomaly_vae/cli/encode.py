"""``anomaly-vae encode``."""

from __future__ import annotations

from pathlib import Path

import click

from anomaly_vae.cli import options


@click.command("encode")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("input_", metavar="INPUT")
@click.option("-o", "--output", required=True, help="Table to write: .csv, .parquet, or - for standard output.")
@click.option("--keep", type=options.Names(), default="", help="Input columns to copy to the output, comma-separated.")
@options.threads
@options.overwrite
@options.quiet
@options.verbose
def command(
    model: Path,
    input_: str,
    output: str,
    keep: tuple[str, ...],
    threads: int | None,
    overwrite: bool,
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
    from anomaly_vae.storage import refuse_existing
    from anomaly_vae.table import check_ending, open_table

    if output != "-":
        refuse_existing(check_ending(output), overwrite=overwrite)
    table = open_table(input_)
    scorer = load(model, threads=threads)
    with table_progress("encoding", table, quiet=quiet) as on_batch:
        summary = encode_table(scorer, table, output, keep=keep, overwrite=overwrite, on_batch=on_batch)
    if not quiet:
        click.echo(f"{'standard output' if output == '-' else output}: {summary.describe()}", err=True)
