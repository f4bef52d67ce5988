"""``anomaly-vae evaluate``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomaly_vae.cli import options
from anomaly_vae.cli.image_options import image_options
from anomaly_vae.cli.mixed_up import refuse_swapped
from anomaly_vae.cli.summary import print_summary
from anomaly_vae.cli.table_options import missing_values, read_options
from anomaly_vae.errors import GateFailed

if TYPE_CHECKING:
    from anomaly_vae.assessment import Evaluation
    from anomaly_vae.cli.image_options import ImageOptions
    from anomaly_vae.table import ReadOptions


@click.command("evaluate")
@click.argument("model", metavar="MODEL", type=options.ModelPath())
@click.argument("input_", metavar="INPUT", type=options.table_path)
@click.option(
    "--label",
    help="Column with 0 in normal rows and 1 in anomalies.  [default: the label column of MODEL]",
)
@click.option(
    "--at",
    type=options.Rates(),
    default="0.001,0.01,0.05",
    show_default=True,
    help="Further false-positive rates, comma-separated: what `score --target-fpr` would find.",
)
@click.option(
    "--by",
    multiple=True,
    metavar="COLUMN",
    help="Also show each part of the rows by the values of this column; numbers by quarters. May be repeated.",
)
@click.option(
    "--resamples",
    type=click.IntRange(100, 1_000_000),
    default=1000,
    show_default=True,
    help="Draws of the bootstrap for the intervals of AUROC and average precision.",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Of the bootstrap.")
@click.option("--min-auroc", type=options.Rate, help="Exit with 5 if AUROC is below this.")
@click.option("--max-fpr", type=options.Rate, help="Exit with 5 if a larger share of the normal rows is flagged.")
@click.option(
    "--html",
    type=options.PagePath(),
    metavar="FILE.html",
    help="Also write a page with the curves to this file.",
)
@click.option(
    "--anomalies",
    type=options.table_path,
    metavar="IMAGES",
    help="For a model of images: anomalous images. INPUT then holds normal images.",
)
@missing_values
@read_options
@image_options
@options.threads
@options.overwrite
@options.as_json
@options.quiet
@options.verbose
def command(
    model: str,
    input_: str,
    label: str | None,
    at: tuple[float, ...],
    by: tuple[str, ...],
    resamples: int,
    seed: int,
    min_auroc: float | None,
    max_fpr: float | None,
    html: Path | None,
    anomalies: str | None,
    missing_values: tuple[str, ...],
    reading: ReadOptions,
    images: ImageOptions,
    threads: int | None,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Say how good MODEL is, from rows with known labels that it was not trained on.

    INPUT is a table as for `score`, with a column of 0 (normal) and 1 (anomaly). The rows are scored as `score` does,
    and compared with their labels:

    \b
    ranking      AUROC and average precision, with intervals
    promise      the false alarms among normal rows beside what the threshold promises
    thresholds   false alarms, recall and precision for each false-positive rate of --at
    parts        the same by the values of a column (--by)
    estimates    how many scores are reliable, and how many decisions are close

    An interval says how far a figure may be from that of all such rows: it holds the true figure with a probability of
    95 %. Precision depends on how many rows of INPUT are anomalies.

    For a model of images, INPUT holds normal images and --anomalies anomalous ones.

    Do not use rows of the training table: the model knows them, and flags fewer of them.

    \b
    anomaly-vae evaluate model history.csv --label is_fraud
    anomaly-vae evaluate model history.csv --label is_fraud --by country --by amount --at 0.001,0.01
    anomaly-vae evaluate model history.csv --label is_fraud --min-auroc 0.9 --max-fpr 0.02 && deploy
    anomaly-vae evaluate model history.csv --label is_fraud --html quality.html
    anomaly-vae evaluate model history.csv --label is_fraud --json | jq .auroc
    anomaly-vae evaluate image-model digits/ --anomalies letters/
    """  # noqa: D301 (a backspace tells click to keep the line breaks of a paragraph)
    from anomaly_vae.assessment import evaluate
    from anomaly_vae.assessment.slices import slicing_of
    from anomaly_vae.cli.assessed_rows import judge, open_model, own_promise, rates_of
    from anomaly_vae.cli.console import rows_progress
    from anomaly_vae.cli.evaluate_input import labelled_rows
    from anomaly_vae.cli.evaluate_page import write_evaluation
    from anomaly_vae.cli.evaluate_report import print_evaluation
    from anomaly_vae.cli.model_input import ModelInput
    from anomaly_vae.storage import refuse_file

    start = time.monotonic()
    if html is not None:
        refuse_file(html, overwrite=overwrite)
    refuse_swapped(model, input_)
    scorer = open_model(model, "evaluate", threads=threads)
    others = None if anomalies is None else ModelInput(anomalies, reading, missing_values, images)
    inputs = ModelInput(input_, reading, missing_values, images)
    given, label = labelled_rows(scorer, inputs, others, label=label, by=by, quiet=quiet)
    judged = judge(scorer, given.rows, quiet=quiet)
    with rows_progress("resampling", resamples, quiet=quiet, what="draws") as on_resamples:
        evaluation = evaluate(
            judged,
            given.labels,
            own_promise(scorer),
            rates=rates_of(scorer, at),
            slicings=[slicing_of(name, given.cells[name]) for name in by],
            resamples=resamples,
            seed=seed,
            on_resamples=on_resamples,
        )
    if html is not None:
        write_evaluation(evaluation, model, input_, given.left_out, html, overwrite=overwrite)
    if as_json:
        facts = {
            "model": model,
            "input": input_,
            "label": label,
            "left_out": given.left_out,
            **_facts(evaluation),
            "bundle_digest": scorer.bundle.digest,
            "seconds": round(time.monotonic() - start, 3),
        }
        print_summary("", facts, as_json=True, quiet=True)
    elif not quiet:
        print_evaluation(evaluation, model, input_)
    _refuse_worse(evaluation, min_auroc, max_fpr)


def _facts(evaluation: Evaluation) -> dict[str, Any]:
    import msgspec

    facts: dict[str, Any] = msgspec.to_builtins(evaluation)
    return facts


def _refuse_worse(evaluation: Evaluation, min_auroc: float | None, max_fpr: float | None) -> None:
    """Raise GateFailed if a limit of the user is not met; exit code 5."""
    problems = []
    if min_auroc is not None and (area := evaluation.auroc) is None:
        problems.append("there is no AUROC, since all rows have one label")
    elif min_auroc is not None and area is not None and area.value < min_auroc:
        problems.append(f"AUROC is {area.value:.4g}, --min-auroc is {min_auroc:g}")
    found = evaluation.decision.false_positives
    if max_fpr is not None and found is None:
        problems.append("there are no normal rows, so that --max-fpr cannot be checked")
    elif max_fpr is not None and found is not None and found.share > max_fpr:
        problems.append(f"{found.share:.4g} of the normal rows are flagged, --max-fpr is {max_fpr:g}")
    if problems:
        raise GateFailed("; ".join(problems))
