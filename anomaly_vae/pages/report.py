"""The report of a model as a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from anomaly_vae.arrays import FloatArray
from anomaly_vae.pages.curves import Line, Point, lines
from anomaly_vae.pages.environment import render
from anomaly_vae.pages.heat import heat_map
from anomaly_vae.pages.histogram import Mark, histogram
from anomaly_vae.pages.records import CalibrationFacts, InputFacts, MapFacts, Report, TrainingCurve
from anomaly_vae.pages.scatter import scatter
from anomaly_vae.pages.texts import number
from anomaly_vae.pages.worst import ShownRow, shown_row

__all__ = ["report_page"]

# Bars of a histogram of scores, and the share of scores on either side that its outer bars hold together. Chosen, not
# measured: a few scores far below would leave all others in one bar.
_BARS, _TAIL = 40, 0.002

# Bars of the histogram of standard errors. Chosen, not measured.
_ERROR_BARS = 24

# Share of a training at its start that may lie below the picture: its ELBO is far below all others.
_WARM_UP = 0.1

# Columns of a heat map, at most. Chosen, not measured: with more, cells are too narrow to point at.
_MOST_COLUMNS = 40


class _Picture(NamedTuple):
    chart: Markup
    text: str


def report_page(report: Report) -> str:
    """Return the page: one file of HTML that loads nothing."""
    found = report.input
    return render(
        "report.html",
        title=report.title,
        unit=report.unit,
        card=report.card,
        curves=[_training(each) for each in report.card.curves],
        calibration=_calibration(report.card.calibration, report.unit),
        latent=_Picture(_map(report.latent), report.latent.text),
        input=found,
        p_values=None if found is None else _p_values(found, report.unit),
        errors=None if found is None else _errors(found, report.unit),
        heat=None if found is None else _heat(found),
        worst=[] if found is None else _worst(found),
        notes=report.notes,
    )


def _training(curve: TrainingCurve) -> Markup:
    """Return the ELBO over the steps; the first steps may lie below the picture."""
    start = int(len(curve.steps) * _WARM_UP)
    values = [*curve.training[start:], *curve.held_out[start:]]
    low, high = min(values), max(values)
    margin = 0.08 * (high - low) or 1.0
    best = [] if curve.best_step is None or curve.best is None else [_best(curve.best_step, curve.best)]
    return lines(
        [
            Line("training batches", curve.steps, curve.training, "l1"),
            Line("held-out rows", curve.steps, curve.held_out, "l0"),
        ],
        f"Training of {curve.name}",
        "steps",
        "ELBO, nats",
        x_range=[0, curve.steps[-1]],
        y_range=[low - margin, high + margin],
        points=best,
    )


def _best(step: int, elbo: float) -> Point:
    return Point(step, elbo, f"kept: step {step:,}")


def _calibration(found: CalibrationFacts, unit: str) -> list[Markup]:
    """Return the histogram of the calibration scores, and that of the contrasts if there are any."""
    marks = [Mark(found.threshold, f"threshold {number(found.threshold)}")]
    if found.upper_threshold is not None:
        marks.append(Mark(found.upper_threshold, f"upper threshold {number(found.upper_threshold)}"))
    charts = [_scores(found.scores, marks, "Scores of the calibration rows", "score, nats", unit)]
    if found.contrast is not None and found.contrast_threshold is not None:
        mark = Mark(found.contrast_threshold, f"threshold {number(found.contrast_threshold)}")
        charts.append(_scores(found.contrast, [mark], "Contrasts of the calibration images", "contrast, nats", unit))
    return charts


def _scores(values: FloatArray, marks: Sequence[Mark], title: str, x_title: str, unit: str) -> Markup:
    """Return a histogram whose bars end at the first mark, so that no bar holds values of both sides."""
    low, high = np.quantile(values, [_TAIL, 1.0 - _TAIL]).tolist()
    low, high = min(low, *(mark.value for mark in marks)), max(high, *(mark.value for mark in marks))
    width = (high - low) / _BARS or 1.0
    first = marks[0].value
    below, above = max(1, int(np.ceil((first - low) / width))), max(1, int(np.ceil((high - first) / width)))
    edges = first + width * np.arange(-below, above + 1)
    places = np.clip(np.floor((values - first) / width), -below, above - 1).astype(int) + below
    counts = np.bincount(places, minlength=below + above)
    return histogram(edges.tolist(), counts.tolist(), title, x_title, marks=marks, unit=unit)


def _p_values(found: InputFacts, unit: str) -> Markup | None:
    if found.p_counts is None:
        return None
    parts = len(found.p_counts)
    edges = np.linspace(0.0, 1.0, parts + 1).tolist()
    level = sum(found.p_counts) / parts
    return histogram(edges, found.p_counts, "p-values of the input", "p-value", level=level, unit=unit)


def _errors(found: InputFacts, unit: str) -> Markup | None:
    if not len(found.errors):
        return None
    counts, edges = np.histogram(found.errors, bins=_ERROR_BARS, range=(0.0, float(found.errors.max()) or 1.0))
    return histogram(edges.tolist(), counts.tolist(), "Standard errors", "standard error, nats", unit=unit)


def _heat(found: InputFacts) -> Markup | None:
    """Return which columns make the worst rows strange: the columns with the largest sums."""
    if found.excess is None or not len(found.excess):
        return None
    sums = np.nansum(np.maximum(found.excess, 0.0), axis=0)
    chosen = np.sort(np.argsort(-sums, kind="stable")[:_MOST_COLUMNS])
    names = [found.columns[d] for d in chosen.tolist()]
    rows = [row.name for row in found.worst]
    return heat_map(found.excess[:, chosen], rows, names, "What makes the worst rows strange, by column", "nats")


def _worst(found: InputFacts) -> list[ShownRow]:
    return [shown_row(row, found.channels, found.pixel_range) for row in found.worst]


def _map(latent: MapFacts) -> Markup:
    return scatter(
        latent.points,
        latent.score,
        "Latent map",
        "first direction",
        "second direction",
        value_title="score, nats",
        is_marked=latent.is_anomaly,
        background=latent.background,
        limits=latent.limits,
    )
