"""A batch job of ``anomaly-vae score`` as a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from anomaly_vae.arrays import FloatArray
from anomaly_vae.assessment.proportions import Proportion, proportion
from anomaly_vae.assessment.spread import Spread, spread_of_counts
from anomaly_vae.batch.collected import NUM_P_PARTS, Collector
from anomaly_vae.pages.bars import Bar, bars
from anomaly_vae.pages.curves import Line, lines
from anomaly_vae.pages.environment import render
from anomaly_vae.pages.histogram import Mark, histogram
from anomaly_vae.pages.records import Grid, GridRow, Pairs, Tile
from anomaly_vae.pages.texts import counted, number, share, short

__all__ = ["BatchJob", "batch_job_page"]

# Probability of the interval of a share, and of a false verdict about the p-values. Chosen, not measured.
_CONFIDENCE, _SIGNIFICANCE = 0.95, 0.01

# Bars of the histogram of p-values, and letters of a cell. Chosen, not measured.
_P_BARS, _CELL_LETTERS = 20, 60


@dataclass(frozen=True, kw_only=True)
class BatchJob:
    """A job that has ended.

    Attributes:
        title: Heading of the page.
        found: What was collected.
        rows: Rows read.
        resumed: How many of them an earlier process had read.
        seconds: Duration.
        thresholds: The threshold and the upper one, or None, nats.
        target: Share of the normal rows that may be flagged; None if there is no such target.
        calibration: Scores of the calibration rows, nats; None if they are not known.
        calibration_rows: Their number; None if there are no p-values.
        num_novel: How many of them rank below all others; they have no score in ``calibration``.
        only_small: Whether p-values are larger than uniform ones, as those of a model with a contrast.
        is_dependent: Whether neighbours share cells, as windows do, so that chance cannot be computed.
        unit: What is scored: row, window or image.
        decision: How rows were decided, one sentence; empty for the threshold.
        stages: Seconds in each stage; empty if they are not known.
        details: The model, the input and the options, by name.
    """

    title: str
    found: Collector
    rows: int
    resumed: int = 0
    seconds: float
    thresholds: tuple[float, float | None]
    target: float | None
    calibration: FloatArray | None
    calibration_rows: int | None
    num_novel: int = 0
    only_small: bool = False
    is_dependent: bool = False
    unit: str = "row"
    decision: str = ""
    stages: dict[str, float] = field(default_factory=dict)
    details: Pairs = ()


class _Card(NamedTuple):
    heading: str
    chart: Markup
    text: str


def batch_job_page(job: BatchJob) -> str:
    """Return the page: one file of HTML that loads nothing."""
    found = job.found
    return render(
        "batch_job.html",
        title=job.title,
        tiles=_tiles(job),
        decision=job.decision,
        cards=[card for card in (_scores(job), _p_values(job), _order(job), _stages(job)) if card is not None],
        left_out=_left_out(job),
        most=_most(job) if found.most.rows else None,
        unit=job.unit,
        unscored=_unscored(job) if found.unscored else None,
        details=job.details,
    )


def _tiles(job: BatchJob) -> list[Tile]:
    found = job.found
    missing = job.rows - found.num_scored
    tiles = [
        Tile(f"{job.rows:,}", f"{job.unit}s read"),
        Tile(f"{missing:,}", "not scored", "bad" if any(map(_is_fault, found.unscored)) else ""),
        Tile(number((job.rows - job.resumed) / job.seconds, 3) if job.seconds else "–", f"{job.unit}s per second"),
        Tile(f"{number(job.seconds, 3)} s", f"in all; {found.num_samples:,} samples"),
    ]
    flagged = None if found.num_flagged is None else proportion(found.num_flagged, found.num_scored, _CONFIDENCE)
    if flagged is not None:
        tiles[1:1] = [Tile(f"{flagged.count:,}", "flagged"), _rate(flagged, job.target)]
    return tiles


def _is_fault(kind: str) -> bool:
    """Return whether rows of this kind have no score because something is wrong with them."""
    return kind not in ("warm-up", "gap", "missing", "no window")


def _rate(found: Proportion, target: float | None) -> Tile:
    text = f"flagged; {share(found.low)} to {share(found.high)} with {share(_CONFIDENCE)} confidence"
    if target is None:
        return Tile(share(found.share), text)
    return Tile(
        share(found.share),
        f"{text}; target for normal rows: at most {share(target)}",
        "good" if found.share <= target else "",
    )


def _scores(job: BatchJob) -> _Card | None:
    """Return the scores, above those that as many calibration rows have."""
    edges, counts = job.found.edges, job.found.score_counts
    if edges is None or not job.found.has_scores:
        return None
    width = edges[1] - edges[0]
    ends = np.concatenate([[edges[0] - width], edges, [edges[-1] + width]]).tolist()
    low, high = job.thresholds
    marks = [Mark(low, f"threshold {number(low)}")]
    marks += [] if high is None else [Mark(high, f"upper threshold {number(high)}")]
    outline = None
    text = "The first and the last bar also hold all scores beyond them."
    if job.calibration is not None:
        places = np.searchsorted(edges, job.calibration, side="right")
        usual = np.bincount(places, minlength=len(counts))
        usual[0] += job.num_novel  # they rank below all others
        outline = (usual * (counts.sum() / usual.sum())).tolist()
        text += " The line is what is expected of rows like the calibration rows."
    else:
        text += " A service does not give its calibration scores, so they are not shown."
    chart = histogram(ends, counts.tolist(), "Scores", "score, nats", marks=marks, unit=job.unit, outline=outline)
    return _Card("Scores", chart, text)


def _p_values(job: BatchJob) -> _Card | None:
    counts = job.found.p_counts
    if counts is None or job.calibration_rows is None:
        return None
    shown = counts.reshape(_P_BARS, NUM_P_PARTS // _P_BARS).sum(axis=1)
    edges = np.linspace(0.0, 1.0, _P_BARS + 1).tolist()
    level = float(shown.sum()) / _P_BARS
    chart = histogram(edges, shown.tolist(), "p-values", "p-value", level=level, unit=job.unit)
    return _Card(
        "p-values", chart, _conclusion(spread_of_counts(counts, job.calibration_rows, only_small=job.only_small), job)
    )


def _conclusion(found: Spread, job: BatchJob) -> str:
    """Return in plain words what the distribution of the p-values says."""
    rows, low = f"{job.unit}s", found.histogram[0]
    text = (
        f"Among {rows} like the calibration {rows}, each bar reaches the line. The largest difference "
        f"(Kolmogorov-Smirnov distance) is {number(found.distance, 3)}"
    )
    if job.is_dependent:
        return f"{text}. Windows that overlap share steps, so how much of it is chance cannot be said."
    chance = f"; chance alone reaches it with a probability of {number(found.chance, 2)}"
    if found.chance >= _SIGNIFICANCE:
        return f"{text}{chance}. So these {rows} look like the calibration {rows}."
    ending = (
        f"The first tenth holds {share(low)} instead of 10 %: there are anomalies, or the data have changed. "
        if low > 0.1
        else "The difference is not an excess of low p-values: the data have changed, and rates may be off. "
    )
    many = "" if low <= 0.2 else "With so many, a change of the data is likelier than anomalies. "
    return f"{text}{chance}, so it is real. {ending}{many}anomaly-vae drift says which columns changed."


def _order(job: BatchJob) -> _Card | None:
    """Return the share of flagged rows along the input."""
    found = job.found
    if found.num_flagged is None or not found.num_scored:
        return None
    size, scored = found.scored_in_order.rows_per_part, found.scored_in_order.counts
    last = -(-job.rows // size)
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = (100.0 * found.flagged_in_order.counts / scored)[:last]
    x = np.minimum((np.arange(last) + 0.5) * size, job.rows).tolist()
    drawn = [Line("", x, rates.tolist(), "l0")]
    if job.target is not None:
        drawn.append(Line("", [1.0, float(job.rows)], [100.0 * job.target] * 2, "chance"))
    chart = lines(drawn, "Flagged along the input", f"number of the {job.unit}", "flagged, %", x_range=[1, job.rows])
    dashed = "" if job.target is None else " The dashed line is the target for normal rows."
    text = f"Each point is the share of flagged ones among {counted(size, job.unit)} of the input.{dashed}"
    return _Card("Flagged along the input", chart, text)


def _stages(job: BatchJob) -> _Card | None:
    if not job.stages:
        return None
    chart = bars([Bar(name, seconds) for name, seconds in job.stages.items()], "Seconds by stage")
    text = "Seconds in each stage. Stages that run at the same time add up to more than the duration."
    return _Card("Time", chart, text)


def _left_out(job: BatchJob) -> list[str]:
    found, notes = job.found, []
    if not found.has_scores:
        notes.append(
            "Scores, p-values and the most anomalous rows are not shown: no scores were computed (--flag-only computes "
            "none), or nothing could be scored."
        )
    elif found.p_counts is None:
        notes.append("p-values and flags are not shown: --num-samples and --max-std-error give none.")
    return notes


def _most(job: BatchJob) -> Grid:
    rows = job.found.most.rows
    names = list(dict.fromkeys(name for row in rows for name, _ in row.cells))
    lines_of = [
        GridRow(
            (
                f"{row.number:,}",
                number(row.score),
                number(row.p_value, 3),
                {True: "yes", False: "no", None: "–"}[row.is_anomaly],
                row.reason or "",
                *(_cell(dict(row.cells).get(name)) for name in names),
            )
        )
        for row in rows
    ]
    return Grid(
        ("number", "score, nats", "p-value", "flagged", "reason", *(short(name, _CELL_LETTERS) for name in names)),
        lines_of,
        (0, 1, 2),
    )


def _cell(value: Any) -> str:
    if value is None:
        return ""
    is_real = isinstance(value, float)
    return number(value, 6) if is_real else short(str(value), _CELL_LETTERS)


def _unscored(job: BatchJob) -> Grid:
    found: Sequence[tuple[str, dict[str, Any]]] = sorted(job.found.unscored.items())
    rows = [GridRow((kind, f"{each['rows']:,}", "\n".join(each["examples"]))) for kind, each in found]
    return Grid(("kind", f"{job.unit}s", "examples"), rows, (1,))
