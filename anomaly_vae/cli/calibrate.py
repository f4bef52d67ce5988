"""``anomaly-vae calibrate``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anomaly_vae.cli import options
from anomaly_vae.cli.mixed_up import refuse_swapped
from anomaly_vae.cli.reporting import warn
from anomaly_vae.cli.table_options import missing_values, read_options
from anomaly_vae.errors import ConfigError

if TYPE_CHECKING:
    from anomaly_vae.columns.image_layouts import Layout
    from anomaly_vae.record import Tail
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
@options.tail
@click.option(
    "--label",
    help="0/1 column; rows with 1 (anomalies) are left out.  [default: the label column of MODEL, if INPUT has it]",
)
@missing_values
@read_options
@options.image_layout
@options.image_column
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
    tail: Tail | None,
    label: str | None,
    missing_values: tuple[str, ...],
    reading: ReadOptions,
    layout: Layout,
    image_column: str | None,
    threads: int | None,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Write a copy of MODEL with a new threshold, computed from the normal rows, series or images of INPUT.

    Use this when normal data have changed, or for another false-positive rate. INPUT must hold normal rows that the
    model was not trained on. With n rows and --target-fpr 0.01 the threshold is the floor(0.01 (n + 1))-th smallest
    score, so it needs 99 rows or more; --confidence needs more. With --tail both each side gets 0.005, so it needs 199.
    MODEL itself is never changed. Of windows of series, which overlap, n is the number that counts as independent.

    \b
    anomaly-vae calibrate model january.csv -o model-january
    anomaly-vae calibrate model january.csv -o model-strict --target-fpr 0.001 --confidence 0.95
    """  # noqa: D301 (a backspace tells click to keep the line breaks of a paragraph)
    from anomaly_vae.bundle.files import refuse_output, with_calibration, write_bundle
    from anomaly_vae.calibration import rows_needed, threshold_rank
    from anomaly_vae.cli.calibration_input import read_calibration_images, read_calibration_input
    from anomaly_vae.cli.console import rows_progress
    from anomaly_vae.scorer import load

    refuse_swapped(model, input_)
    refuse_output(output, overwrite=overwrite)
    scorer = load(model, threads=threads)
    tail = tail or scorer.tail
    if scorer.schema.kind == "image":
        rows, unit, thin = read_calibration_images(input_, scorer.schema, layout, image_column, label)
    else:
        rows, unit, thin = read_calibration_input(
            input_, scorer.schema, reading, missing_values, label, tail, quiet=quiet
        )
    target = target_fpr or scorer.bundle.manifest.calibration.target_fpr
    contrast = scorer.has_contrast

    def refuse_too_few(n: int, what: str) -> None:
        if threshold_rank(n, target, confidence, tail, contrast=contrast) == 0:
            more = "" if confidence is None else f" with --confidence {confidence:g}"
            more += " with --tail both" if tail == "both" else ""
            more += " with a contrast" if contrast else ""
            raise ConfigError(
                f"{input_} has {n} {what}; --target-fpr {target:g}{more} needs at least "
                f"{rows_needed(target, confidence, tail, contrast=contrast)}. Give more {unit} or a higher target"
            )

    refuse_too_few(len(rows), f"normal {unit} that can be scored")
    with rows_progress("scoring", len(rows), quiet=quiet) as on_rows:
        result = scorer.calibration_of(rows, target, confidence, on_rows, tail, thin)
    n = result.calibration.num_rows
    if thin is not None:
        refuse_too_few(n, f"windows that count as independent, of {len(rows)} that overlap")
    for text in result.warnings:
        warn(text)
    calibration = result.calibration
    created_at = datetime.now(UTC).isoformat(timespec="seconds")
    bundle = with_calibration(
        scorer.bundle, calibration, result.scores, created_at, result.schema, result.contrast, result.statistics
    )
    write_bundle(bundle, output, overwrite=overwrite)
    if not quiet:
        high, was = calibration.upper_threshold, scorer.upper_threshold
        upper = "" if high is None else f"upper threshold {high:.6g} nats (was {_shown(was)}), "
        click.echo(
            f"{output}: threshold {calibration.threshold:.6g} nats (was {scorer.threshold:.6g}), {upper}"
            f"rank {calibration.rank} of {n} scores, false-positive rate at most {calibration.effective_fpr:.4g}",
            err=True,
        )


def _shown(threshold: float | None) -> str:
    return "none" if threshold is None else f"{threshold:.6g}"
