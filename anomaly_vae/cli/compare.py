"""``anomaly-vae compare``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from anomaly_vae.cli import options
from anomaly_vae.cli.image_options import image_options
from anomaly_vae.cli.mixed_up import refuse_model_as_table, refuse_table_as_model
from anomaly_vae.cli.summary import print_summary
from anomaly_vae.cli.table_options import missing_values, read_options
from anomaly_vae.errors import ConfigError, GateFailed

if TYPE_CHECKING:
    from anomaly_vae.assessment import Comparison
    from anomaly_vae.cli.image_options import ImageOptions
    from anomaly_vae.table import ReadOptions


@click.command("compare")
@click.argument("model_a", metavar="MODEL_A", type=options.ModelPath())
@click.argument("model_b", metavar="MODEL_B", type=options.ModelPath())
@click.argument("input_", metavar="INPUT", type=options.table_path)
@click.option(
    "--max-flag-change",
    type=click.FloatRange(0.0, 1.0),
    metavar="RATE",
    help="Exit with 5 if a larger share of the rows is decided differently.",
)
@click.option(
    "--top",
    type=click.IntRange(0, 10_000),
    default=10,
    show_default=True,
    metavar="N",
    help="List at most N rows with another decision.",
)
@missing_values
@read_options
@image_options
@options.threads
@options.as_json
@options.quiet
@options.verbose
def command(
    model_a: str,
    model_b: str,
    input_: str,
    max_flag_change: float | None,
    top: int,
    missing_values: tuple[str, ...],
    reading: ReadOptions,
    images: ImageOptions,
    threads: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Say what changes if MODEL_B takes the place of MODEL_A: both score the rows of INPUT, which need no labels.

    \b
    decisions    which rows only one of them flags, and how many
    order        whether they order rows alike
    calibration  whether each flags as many rows as it promises, if the rows are normal
    fit          how much more likely the rows are for B, if both have the same columns

    INPUT is a table with the columns of both models; columns that only one of them uses, and columns that they read
    differently, are named. For models of images it is a folder or an array of images, as for `score`.

    Use it before a new model is served. Rows that neither model was trained on show most.

    \b
    anomaly-vae compare model model-new new.csv
    anomaly-vae compare model model-new new.csv --max-flag-change 0.01 && deploy
    anomaly-vae compare model model-new new.csv --json | jq .agreement
    """  # noqa: D301 (a backspace tells click to keep the line breaks of a paragraph)
    import msgspec

    from anomaly_vae.cli.assessed_rows import open_model
    from anomaly_vae.cli.compare_jobs import compare_models
    from anomaly_vae.cli.compare_report import print_comparison
    from anomaly_vae.cli.model_input import ModelInput
    from anomaly_vae.cli.schema_differences import schema_differences

    start = time.monotonic()
    refuse_model_as_table(input_)
    for model in (model_a, model_b):
        refuse_table_as_model(model, "anomaly-vae compare MODEL_A MODEL_B INPUT")
    if input_ == "-":
        raise ConfigError("compare reads INPUT once for each model, and standard input can be read once: give a file")
    scorers = open_model(model_a, "compare", threads=threads), open_model(model_b, "compare", threads=threads)
    differences = schema_differences(scorers[0].schema, scorers[1].schema)
    first, second = (ModelInput(input_, reading, missing_values, images) for _ in scorers)
    comparison = compare_models(scorers, (first, second), differences, shown=top, quiet=quiet)
    if as_json:
        facts = {
            "model_a": model_a,
            "model_b": model_b,
            "input": input_,
            "column_differences": differences.columns,
            "category_differences": differences.categories,
            **msgspec.to_builtins(comparison),
            "bundle_digests": [scorer.bundle.digest for scorer in scorers],
            "seconds": round(time.monotonic() - start, 3),
        }
        print_summary("", facts, as_json=True, quiet=True)
    elif not quiet:
        print_comparison(comparison, differences, (model_a, model_b), input_)
    _refuse_changes(comparison, max_flag_change)


def _refuse_changes(comparison: Comparison, max_flag_change: float | None) -> None:
    """Raise GateFailed if too many decisions change; exit code 5."""
    changed = comparison.agreement.changed
    if max_flag_change is not None and changed.share > max_flag_change:
        raise GateFailed(
            f"{changed.count:,} of {changed.total:,} rows are decided differently: {changed.share:.4g}, "
            f"--max-flag-change is {max_flag_change:g}"
        )
