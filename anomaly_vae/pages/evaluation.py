"""An evaluation on labelled rows as a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from markupsafe import Markup

from anomaly_vae.pages.curves import Line, Point, lines
from anomaly_vae.pages.environment import render
from anomaly_vae.pages.intervals import Interval, intervals
from anomaly_vae.pages.records import Grid, GridRow, Tile
from anomaly_vae.pages.texts import counted, number, share

if TYPE_CHECKING:
    from anomaly_vae.assessment.bootstrap import Estimate
    from anomaly_vae.assessment.curves import Curve
    from anomaly_vae.assessment.evaluation import Evaluation
    from anomaly_vae.assessment.operating_points import OperatingPoint
    from anomaly_vae.assessment.proportions import Proportion
    from anomaly_vae.assessment.reliability import Reliability
    from anomaly_vae.assessment.slices import Slice

__all__ = ["evaluation_page"]

# The end of the second ROC curve: the rates that matter in practice. Chosen, not measured.
_LOW_RATES = 0.1

_VERDICTS = {
    "kept": ("kept", "good"),
    "chance": ("chance", "none"),
    "broken": ("broken", "bad"),
    "unknown": ("not known", "none"),
}


class _Part(NamedTuple):
    """The parts of the rows by one column."""

    column: str
    chart: Markup
    grid: Grid


def evaluation_page(found: Evaluation, model: str, input_: str, left_out: Sequence[str] = ()) -> str:
    """Return the page: one file of HTML that loads nothing.

    Args:
        found: The evaluation.
        model: The name of the model.
        input_: Where the rows are.
        left_out: Rows without a part in the evaluation, and why.
    """
    verdict, mood = _VERDICTS[found.verdict.outcome]
    columns = dict.fromkeys(each.column for each in found.slices)
    points = sorted(
        [*(p for p in found.points if p.target_fpr != found.decision.target_fpr), found.decision],
        key=lambda point: point.target_fpr,
    )
    return render(
        "evaluation.html",
        title=f"{model} on {input_}",
        found=found,
        tiles=_tiles(found),
        verdict=verdict,
        mood=mood,
        curves=_curves(found, points),
        points=Grid(
            ("target", "promised", "false alarms", "recall", "precision", "recall on the curve"),
            [_point(each, is_own=each is found.decision) for each in points],
            (1, 2, 3, 4, 5),
        ),
        reasons=[f"{share(each.target_fpr)}: {each.reason}" for each in points if each.reason is not None],
        parts=[_part(name, [each for each in found.slices if each.column == name], found) for name in columns],
        above=[f"{each.column} = {each.value}" for each in found.slices if each.above_promise],
        reliability=_reliability(found.reliability),
        left_out=left_out,
    )


def _tiles(found: Evaluation) -> list[Tile]:
    part = found.anomalies / found.rows if found.rows else None
    alarms, outcome = found.decision.false_positives, found.verdict.outcome
    return [
        Tile(f"{found.rows:,}", "labelled rows"),
        Tile(f"{found.anomalies:,}", f"anomalies: {share(part)} of the rows"),
        Tile(*_figure(found.auroc, "AUROC", 0.5)),
        Tile(*_figure(found.average_precision, "average precision", part)),
        Tile(
            "–" if alarms is None else share(alarms.share),
            f"of normal rows flagged; promised at most {share(found.verdict.limit)}",
            "good" if outcome == "kept" else "bad" if outcome == "broken" else "",
        ),
        Tile(_share(found.decision.recall), "of anomalies flagged"),
    ]


def _figure(found: Estimate | None, name: str, by_chance: float | None) -> tuple[str, str]:
    if found is None:
        return "–", f"{name}: all rows have one label"
    chance = f"; by chance {number(by_chance, 3)}"
    return f"{found.value:.4f}", f"{name}, {found.low:.4f} to {found.high:.4f}{chance}"


def _share(found: Proportion | None) -> str:
    return "–" if found is None else share(found.share)


def _curves(found: Evaluation, points: Sequence[OperatingPoint]) -> list[tuple[str, Markup, str]]:
    """Return heading, picture and text of each curve; none if all rows have one label."""
    if found.roc is None or found.precision_recall is None:
        return []
    marked = [
        Point(each.false_positives.share, each.recall.share, f"at {share(each.target_fpr)}")
        for each in points
        if each.false_positives is not None and each.recall is not None
    ]
    own = [point for each, point in zip(_shown(points), marked, strict=True) if each is found.decision]
    low = [point for point in marked if point.x <= _LOW_RATES]
    titles = ("false alarms: share of normal rows", "recall")
    share_of = found.anomalies / found.rows
    roc = [Line("", found.roc.x, found.roc.y, "l0")]
    precision = [Line("", found.precision_recall.x, found.precision_recall.y, "l0")]
    chance = Line("", (0.0, 1.0), (share_of, share_of), "chance")
    ends = (0.0, 1.0)
    return [
        (
            "ROC curve",
            lines(roc, "ROC curve", *titles, x_range=ends, y_range=ends, diagonal=True, points=own),
            "How many anomalies are found for each share of false alarms. The dashed line is what chance finds, the "
            "point is the threshold of the model.",
        ),
        (
            f"ROC curve up to {share(_LOW_RATES)}",
            lines(
                [_within(found.roc, _LOW_RATES)],
                "ROC curve at low rates",
                *titles,
                x_range=(0.0, _LOW_RATES),
                y_range=ends,
                points=low,
            ),
            "The same curve at rates that matter in practice. Points are calibrated thresholds, with their targets.",
        ),
        (
            "Precision by recall",
            lines(
                [*precision, chance],
                "Precision by recall",
                "recall: share of anomalies",
                "precision",
                x_range=ends,
                y_range=ends,
            ),
            f"Precision depends on the share of anomalies, here {share(share_of)}, which chance finds (dashed).",
        ),
    ]


def _shown(points: Sequence[OperatingPoint]) -> list[OperatingPoint]:
    return [each for each in points if each.false_positives is not None and each.recall is not None]


def _within(curve: Curve, end: float) -> Line:
    """Return the part of a curve up to a place, where it ends on the line between two of its points."""
    x, y = np.asarray(curve.x), np.asarray(curve.y)
    inside = x < end
    return Line("", [*x[inside].tolist(), end], [*y[inside].tolist(), float(np.interp(end, x, y))], "l0")


def _point(point: OperatingPoint, *, is_own: bool) -> GridRow:
    promised = "none" if point.promise is None else share(point.promise.limit)
    found = (_with_interval(each) for each in (point.false_positives, point.recall, point.precision))
    own = " (the model's)" if is_own else ""
    return GridRow((f"{share(point.target_fpr)}{own}", promised, *found, share(point.recall_on_curve)))


def _with_interval(found: Proportion | None) -> str:
    return "–" if found is None else f"{share(found.share)} ({share(found.low, 2)} to {share(found.high, 2)})"


def _part(column: str, slices: Sequence[Slice], found: Evaluation) -> _Part:
    known = [
        Interval(
            each.value,
            each.false_positives.share,
            each.false_positives.low,
            each.false_positives.high,
            each.above_promise,
        )
        for each in slices
        if each.false_positives is not None
    ]
    title = f"False alarms by {column}"
    picture = intervals(known, title, limit=found.verdict.limit) if known else Markup()
    rows = [
        GridRow(
            (
                each.value,
                f"{each.rows - each.anomalies:,}" + (" (few)" if each.is_small else ""),
                _with_interval(each.false_positives),
                f"{each.anomalies:,}",
                _with_interval(each.recall),
                "–" if each.auroc is None else f"{each.auroc:.4f}",
            ),
            is_out=each.above_promise,
        )
        for each in slices
    ]
    names = ("value", "normal rows", "false alarms", "anomalies", "recall", "AUROC")
    return _Part(column, picture, Grid(names, rows, (1, 2, 3, 4, 5)))


def _reliability(found: dict[str, Reliability]) -> Grid:
    rows = [
        GridRow(
            (
                f"{name} rows",
                counted(each.rows, "row"),
                share(each.reliable / each.rows, 4),
                *(number(value, 2) for value in (each.median, each.q99, each.largest)),
                f"{each.close:,}",
            )
        )
        for name, each in found.items()
        if each.rows
    ]
    return Grid(
        ("", "", "reliable", "median error", "99 % error", "largest error", "close decisions"), rows, (2, 3, 4, 5, 6)
    )
