"""``anomaly-vae calibrate``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anomaly_vae.cli import options
from anomaly_vae.cli.mixed_up import refuse_swapped
from anomaly_vae.cli.reporting import warn
from anomaly_vae.cli.table_options import missing_values, read_options, say_how_it_was_read
from anomaly_vae.errors import ConfigError

if TYPE_CHECKING:
    from anomaly_vae.table import ReadOptions


@click.command("calibrate")
@click.argument("model")
@click.argument("input_", metavar="INPUT")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Model (directory) to write.")
@click.option(
    "--target-fpr", type=options.Rate, help="Share of normal rows that may be flagged.  [default: that of MODEL]"
)
@click.option(
    "--confidence",
    type=options.Rate,
    help="Probability with which the share must hold. Without it, the share holds on average over calibration sets.",
)
@click.option(
    "--label",
    help="0/1 column; rows with 1 (anomalies) are left out.  [default: the label column of MODEL, if INPUT has it]",
)
@missing_values
@read_options
@options.threads
@options.overwrite
@options.quiet
@options.verbose
def command(
    model: str,
    input_: str,
    output: Path,
    target_fpr: float | None,
    confidence: float | None,
    label: str | None,
    missing_values: tuple[str, ...],
    reading: ReadOptions,
    threads: int | None,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Write a copy of MODEL with a new threshold, computed from the normal rows of INPUT.

    Use this when normal data have changed, or for another false-positive rate. INPUT must hold normal rows that the
    model was not trained on. With n rows and --target-fpr 0.01 the threshold is the floor(0.01 (n + 1))-th smallest
    score, so it needs 99 rows or more; --confidence needs more. MODEL itself is never changed.

    \b
    anomaly-vae calibrate model january.csv -o model-january
    anomaly-vae calibrate model january.csv -o model-strict --target-fpr 0.001 --confidence 0.95
    """  # noqa: D301 (a backspace tells click to keep the line breaks of a paragraph)
    from anomaly_vae.bundle.files import refuse_output, with_calibration, write_bundle
    from anomaly_vae.calibration import rows_needed, threshold_rank
    from anomaly_vae.cli.console import rows_progress
    from anomaly_vae.cli.labelled_rows import read_normal_rows
    from anomaly_vae.columns.rows import match_columns
    from anomaly_vae.scorer import load
    from anomaly_vae.table import open_table

    refuse_swapped(model, input_)
    refuse_output(output, overwrite=overwrite)
    scorer = load(model, threads=threads)
    schema = scorer.schema
    table = open_table(input_, reading, missing_values)
    say_how_it_was_read(table, schema, quiet=quiet)
    match_columns(table.names, schema.names)
    if label is None and schema.label in table.names:
        label = schema.label
    rows = schema.expand(read_normal_rows(table, schema.reader(), label, quiet=quiet).normal)
    target = target_fpr or scorer.bundle.manifest.calibration.target_fpr
    n = len(rows)
    if threshold_rank(n, target, confidence) == 0:
        raise ConfigError(
            f"{input_} has {n} normal rows that can be scored; --target-fpr {target:g}"
            f"{'' if confidence is None else f' with --confidence {confidence:g}'} needs at least "
            f"{rows_needed(target, confidence)}. Give more rows or a higher target"
        )
    with rows_progress("scoring", n, quiet=quiet) as on_rows:
        result = scorer.calibration_of(rows, target, confidence, on_rows)
    for text in result.warnings:
        warn(text)
    calibration = result.calibration
    created_at = datetime.now(UTC).isoformat(timespec="seconds")
    bundle = with_calibration(scorer.bundle, calibration, result.scores, created_at, result.schema)
    write_bundle(bundle, output, overwrite=overwrite)
    if not quiet:
        click.echo(
            f"{output}: threshold {calibration.threshold:.6g} nats (was {scorer.threshold:.6g}), "
            f"rank {calibration.rank} of {n} scores, false-positive rate at most {calibration.effective_fpr:.4g}",
            err=True,
        )
