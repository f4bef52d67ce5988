"""An evaluation on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomaly_vae.assessment.promise import rate
from anomaly_vae.cli.report_tables import console, counted, heading, note, share, shortened, table

if TYPE_CHECKING:
    from rich.console import Console

    from anomaly_vae.assessment.bootstrap import Estimate
    from anomaly_vae.assessment.evaluation import Evaluation
    from anomaly_vae.assessment.operating_points import OperatingPoint
    from anomaly_vae.assessment.reliability import Reliability
    from anomaly_vae.assessment.slices import Slice

__all__ = ["print_evaluation"]

# Characters of the other columns of the table of parts, and of the value: at least, at most.
_OTHER_WIDTH, _LEAST_VALUE_WIDTH, _MOST_VALUE_WIDTH = 64, 16, 40

_VERDICTS = {"kept": "green", "chance": "yellow", "broken": "bold red", "unknown": "yellow"}


def print_evaluation(evaluation: Evaluation, model: str, input_: str) -> None:
    """Print all parts of an evaluation on standard output."""
    to = console()
    share_of = rate(evaluation.anomalies / max(evaluation.rows, 1))
    rows = f"{counted(evaluation.rows, 'labelled row')}, {evaluation.anomalies:,} of them anomalies ({share_of})"
    note(to, f"{model} on {input_}:", "bold")
    note(to, rows, "bold")
    note(to, f"Intervals hold the true figure with a probability of {rate(evaluation.confidence)}.", "dim")
    _ranking(to, evaluation)
    heading(to, "Promise: false alarms among normal rows")
    note(to, evaluation.verdict.text, _VERDICTS[evaluation.verdict.outcome])
    _thresholds(to, evaluation)
    if evaluation.slices:
        _slices(to, evaluation)
    _estimates(to, evaluation.reliability)


def _ranking(to: Console, evaluation: Evaluation) -> None:
    heading(to, "Ranking: are anomalies before normal rows?")
    if evaluation.auroc is None or evaluation.average_precision is None:
        note(to, "All rows have one label, so nothing can be ranked against the other.", "yellow")
        return
    chance = evaluation.anomalies / evaluation.rows
    rows = [
        ["AUROC", *_estimate(evaluation.auroc), "0.5"],
        ["average precision", *_estimate(evaluation.average_precision), f"{chance:.3g}"],
    ]
    to.print(table(["", "found", "interval", "by chance"], rows))


def _estimate(found: Estimate) -> list[str]:
    return [f"{found.value:.4f}", f"{found.low:.4f} to {found.high:.4f}"]


def _thresholds(to: Console, evaluation: Evaluation) -> None:
    heading(to, "Thresholds: what is flagged at a false-positive rate")
    points = sorted(
        [(point, " ") for point in evaluation.points if point.target_fpr != evaluation.decision.target_fpr]
        + [(evaluation.decision, "*")],
        key=lambda pair: pair[0].target_fpr,
    )
    rows = [_point(point, mark) for point, mark in points]
    to.print(table(["target", "promised", "false alarms", "recall", "precision", "on curve"], rows))
    note(
        to,
        "*: the threshold of the model. recall: share of the anomalies that is flagged. precision: share of the "
        "flagged rows that are anomalies. In brackets: intervals, %. on curve: the recall where the ROC curve of these "
        "rows reaches the target, whatever was promised.",
        "dim",
    )
    for point, _ in points:
        if point.reason is not None:
            note(to, f"{rate(point.target_fpr)}: {point.reason}", "yellow")


def _point(point: OperatingPoint, mark: str) -> list[str]:
    promised = "none" if point.promise is None else rate(point.promise.limit)
    on_curve = "-" if point.recall_on_curve is None else rate(point.recall_on_curve)
    shares = [share(found) for found in (point.false_positives, point.recall, point.precision)]
    return [f"{rate(point.target_fpr)} {mark}", promised, *shares, on_curve]


def _slices(to: Console, evaluation: Evaluation) -> None:
    width = min(max(to.width - _OTHER_WIDTH, _LEAST_VALUE_WIDTH), _MOST_VALUE_WIDTH)
    for column in dict.fromkeys(each.column for each in evaluation.slices):
        heading(to, f"Parts of the rows by {column}")
        rows = [_slice(each, width) for each in evaluation.slices if each.column == column]
        to.print(table(["", "normal", "false alarms", "anomalies", "recall", "AUROC"], rows))
    strange = [f"{each.column} = {each.value}" for each in evaluation.slices if each.above_promise]
    if strange:
        limit = rate(evaluation.verdict.limit)
        note(to, f"More false alarms than the promised {limit}, not by chance: {', '.join(strange)}.", "yellow")
    note(
        to,
        "s: fewer than 50 normal rows. The promise is one for all normal rows together; a part may have more false "
        "alarms, others then have fewer. The intervals of all parts hold at once.",
        "dim",
    )


def _slice(each: Slice, width: int) -> list[str]:
    normal = f"{each.rows - each.anomalies:,}{' s' if each.is_small else '  '}"
    area = "-" if each.auroc is None else f"{each.auroc:.4f}"
    return [
        shortened(each.value, width),
        normal,
        share(each.false_positives),
        f"{each.anomalies:,}",
        share(each.recall),
        area,
    ]


def _estimates(to: Console, found: dict[str, Reliability]) -> None:
    heading(to, "Estimates: can the scores be trusted?")
    rows = [_reliability(name, each) for name, each in found.items() if each.rows]
    to.print(table(["rows", "", "reliable", "error: median", "99 %", "largest", "close"], rows))
    note(
        to,
        "error: standard error of log p(x), nats. close: rows within two standard errors of the threshold, which other "
        "samples could decide otherwise.",
        "dim",
    )


def _reliability(name: str, each: Reliability) -> list[str]:
    errors = ["-" if value is None else f"{value:.3g}" for value in (each.median, each.q99, each.largest)]
    return [name, f"{each.rows:,}", rate(each.reliable / each.rows), *errors, f"{each.close:,}"]
