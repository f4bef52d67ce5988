"""``anomaly-vae score``."""

from __future__ import annotations

import click

from anomaly_vae.cli import options
from anomaly_vae.cli.errors import warn
from anomaly_vae.errors import ConfigError


@click.command("score")
@click.argument("model")
@click.argument("input_", metavar="INPUT")
@click.option("-o", "--output", required=True, help="Table to write: .csv, .parquet, or - for standard output.")
@click.option("--keep", type=options.Names(), default="", help="Input columns to copy to the output, comma-separated.")
@click.option("--num-samples", type=int, help="Decoder evaluations a row; only the calibrated budget gives flags.")
@click.option("--target-fpr", type=options.Rate, help="Flag at another false-positive rate than the model's.")
@click.option("--strict", is_flag=True, help="Refuse input columns the model does not know.")
@options.threads
@options.overwrite
@options.quiet
@options.verbose
def command(
    model: str,
    input_: str,
    output: str,
    keep: tuple[str, ...],
    num_samples: int | None,
    target_fpr: float | None,
    strict: bool,
    threads: int | None,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Score every row of INPUT (.csv, .parquet, or - for CSV on standard input) with MODEL.

    The output has one row per input row, in input order: the kept columns, then log_px (nats, data units; higher is
    more normal), elbo, std_error, ess_ratio, p_value (small for anomalies), is_anomaly, reason. Rows that cannot be
    scored have empty cells and a reason. The file appears under its name only when it is complete.

    \b
    anomaly-vae score model new.csv -o scores.csv --keep id
    cat new.csv | anomaly-vae score model - -o - > scores.csv
    """  # noqa: D301 (click reads the backspace as: keep these lines)
    from anomaly_vae.batch import score_table
    from anomaly_vae.cli.progress import table_progress
    from anomaly_vae.scorer import load
    from anomaly_vae.storage import refuse_existing
    from anomaly_vae.table import check_ending, open_table

    if output != "-":
        refuse_existing(check_ending(output), overwrite=overwrite)
    scorer = load(model, threads=threads)
    table = open_table(input_)
    _mention_extra(table.names, {*scorer.schema.names, *keep, scorer.schema.label}, strict=strict)
    with table_progress("scoring", table, quiet=quiet) as on_batch:
        summary = score_table(
            scorer,
            table,
            output,
            keep=keep,
            num_samples=num_samples,
            target_fpr=target_fpr,
            overwrite=overwrite,
            on_batch=on_batch,
        )
    if not quiet:
        click.echo(f"{'standard output' if output == '-' else output}: {summary.describe()}", err=True)
    elif summary.unscored:
        warn(summary.describe())


def _mention_extra(found: tuple[str, ...], known: set[str | None], *, strict: bool) -> None:
    extra = [name for name in found if name not in known]
    if not extra:
        return
    text = f"input columns that the model does not know: {', '.join(extra[:5])}"
    if len(extra) > 5:
        text += f" and {len(extra) - 5} more"
    if strict:
        raise ConfigError(f"{text}; remove them, or leave out --strict to ignore them")
    warn(f"{text}; ignored")
