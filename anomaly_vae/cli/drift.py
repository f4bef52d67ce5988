"""``anomaly-vae drift``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from anomaly_vae.cli import options
from anomaly_vae.cli.image_options import image_options
from anomaly_vae.cli.mixed_up import refuse_swapped
from anomaly_vae.cli.table_options import missing_values, read_options
from anomaly_vae.errors import ConfigError, GateFailed

if TYPE_CHECKING:
    from anomaly_vae.cli.image_options import ImageOptions
    from anomaly_vae.table import ReadOptions


@click.command("drift")
@click.argument("model", metavar="MODEL", type=options.ModelPath())
@click.argument("input_", metavar="INPUT", type=options.table_path)
@click.option(
    "--alpha",
    type=options.Rate,
    default=0.01,
    show_default=True,
    help="Probability of a false alarm: of the verdict drift although nothing has changed.",
)
@missing_values
@read_options
@image_options
@options.threads
@options.as_json
@options.quiet
@options.verbose
def command(
    model: str,
    input_: str,
    alpha: float,
    missing_values: tuple[str, ...],
    reading: ReadOptions,
    images: ImageOptions,
    threads: int | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Say whether the rows of INPUT are still like the calibration rows of MODEL, and which columns have changed.

    The exit code is 0 if no drift was found, and 5 if there is drift.

    INPUT holds rows as they come, normal ones and anomalies, in the order in which they came. They are compared with
    the calibration rows in three ways: all scores at once, which notices a small change in many rows; the scores one
    after the other, which says at which row the change was noticed; and each column by itself, which says what has
    changed: missing cells, new values, another distribution, other units. Without a change, all three together give a
    false alarm with probability at most --alpha.

    Do not use rows of the training table: the model knows them, and they score higher.

    Of series, windows that share no step are compared, and only more low scores count. Of images, scores and contrasts
    are compared. If the rows have changed and are normal, `calibrate` sets a threshold for them, or train again.

    \b
    anomaly-vae drift model this_week.csv
    anomaly-vae drift model this_week.parquet --alpha 0.001 --json
    """  # noqa: D301 (a backspace tells click to keep the line breaks of a paragraph)
    from anomaly_vae.cli.drift_input import watch_input
    from anomaly_vae.cli.drift_report import facts_of, print_drift
    from anomaly_vae.cli.model_input import ModelInput
    from anomaly_vae.cli.summary import print_summary
    from anomaly_vae.scorer import load

    start = time.monotonic()
    refuse_swapped(model, input_)
    if "://" in model:
        raise ConfigError(
            f"MODEL {model} is a service; expected the directory of a model, whose calibration scores the rows are "
            "compared with. A service has the metric anomaly_vae_drift_log_detector"
        )
    given = ModelInput(input_, reading, missing_values, images)
    scorer = load(model, threads=threads)
    drift, summary = watch_input(given, scorer, alpha, quiet=quiet)
    if as_json:
        facts = {
            "model": model,
            "input": input_,
            **facts_of(drift, summary),
            "bundle_digest": scorer.bundle.digest,
            "seconds": round(time.monotonic() - start, 3),
        }
        print_summary("", facts, as_json=True, quiet=quiet)
    elif not quiet:
        unit = {"table": "row", "series": "window", "image": "image"}[scorer.schema.kind]
        print_drift(drift, summary, model, input_, unit)
    return GateFailed.exit_code if drift.drifted else 0
