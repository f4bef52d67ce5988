"""A picture of time series with the scores of their steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.errors import InvalidInput
from anomaly_vae.plot.canvas import (
    BAND,
    COLOURS,
    FLAGGED,
    NORMAL,
    QUIET,
    STEP,
    TEXT,
    THRESHOLD,
    finished,
    literal,
    new_figure,
    refuse_format,
    tidy,
)
from anomaly_vae.plot.envelope import PARTS, envelope, line_of, spans_of
from anomaly_vae.plot.nats import NatsAxis
from anomaly_vae.plot.steps import Drawn, drawn_series, times_of
from anomaly_vae.series.results import SeriesScores

__all__ = ["MOST_PANELS", "plot_series"]

# Channels of one series, and series of a table, that a picture shows. With more, panels are too low to read.
MOST_PANELS = 6

_WIDTH, _HEIGHT = 1600, 900

# Numbers beside a panel that is low.
_FEW_TICKS = 4

# Spans that are closer than this share of the width are drawn as one; they could not be told apart.
_PIXEL = 1 / PARTS

# Why a step has no window: those that a picture shades.
_NO_WINDOW_YET = ("warm-up", "gap")


class _Rules(NamedTuple):
    threshold: float | None
    upper: float | None
    channels: Sequence[str]
    first: float
    last: float


def plot_series(
    path: str | Path | None,
    times: Any,
    values: FloatArray,
    channel_names: Sequence[str],
    scores: SeriesScores,
    threshold: float | None,
    upper_threshold: float | None = None,
    title: str = "",
    names: Sequence[Any] | None = None,
) -> Any:
    """Draw time series, and below them the score of each step with the threshold and the flags.

    An orange band marks steps at which a window ends that is flagged: the cause lies within the window, so a band often
    begins with it and lasts for up to a window. Grey bands are the first steps, which have no full window yet. Lines
    are broken at gaps. Of long series each pixel shows the lowest and the highest value, so no peak is lost.

    One series has a panel for each of its first 6 channels. Of several series, the 6 most anomalous have two panels
    each: the channels, of several ones in standard deviations, and the score.

    Args:
        path: The picture to write: .png, .svg or .pdf, or None to return the figure.
        times: One for each row: datetimes, texts or numbers; None if the rows are the steps.
        values: The rows of the table, in its order, NaN for missing cells, shape (N, channels).
        channel_names: The names of the channels.
        scores: Of ``score_panel``, one entry for each row.
        threshold: Nats; None or minus infinity draws none.
        upper_threshold: Nats; of models that also flag high scores.
        title: Above the picture.
        names: The series of each row; None if all rows are one.

    Raises:
        InvalidInput: The arguments have different numbers of rows or channels.
        ConfigError: matplotlib is not installed, or the file cannot be written.
    """
    refuse_format(path)
    values = np.asarray(values, dtype=np.float64)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or values.shape[1] != len(channel_names) or not len(channel_names):
        expected = f"(rows, {len(channel_names)} channels)"
        raise InvalidInput(f"values: shape {values.shape}, expected {expected}", field="values")
    if len(scores) != len(values):
        raise InvalidInput(f"scores: {len(scores)} entries for {len(values)} rows of values", field="scores")
    x, is_date = times_of(times, len(values))
    series = drawn_series(x, names, scores)
    if not series:
        raise InvalidInput("times: no row has a time and a name, so there is nothing to draw", field="times")
    shown = series[:MOST_PANELS]
    ends = [float(end) for each in shown for end in (each.x[0], each.x[-1])]
    rules = _Rules(threshold, upper_threshold, channel_names, min(ends), max(max(ends), min(ends) + 1e-9))
    figure = new_figure(_WIDTH, _HEIGHT)
    if len(series) == 1:
        panels, notes = _one(figure, series[0], values, scores, rules)
    else:
        panels, notes = _several(figure, series, values, scores, rules)
    _finish_time(panels, rules, is_date=is_date)
    _head(figure, panels[-1], title, notes, scores)
    return finished(figure, path)


def _one(figure: Any, drawn: Drawn, values: FloatArray, scores: SeriesScores, rules: _Rules) -> tuple[Any, list[str]]:
    """Draw one panel for each channel, and the score."""
    channels = list(rules.channels[:MOST_PANELS])
    heights = [1.0] * len(channels) + [max(1.0, 0.45 * len(channels))]
    panels = figure.subplots(len(heights), 1, sharex=True, gridspec_kw={"height_ratios": heights}).tolist()
    for c, name in enumerate(channels):
        _line(panels[c], drawn.x, values[drawn.rows, c], rules, color=NORMAL)
        panels[c].set_ylabel(_short(name), fontsize=12, color=TEXT)
        panels[c].margins(y=0.08)
    _score(panels[-1], drawn, scores, rules)
    _bands(panels, drawn, scores, rules)
    notes = [] if drawn.name is None else [f"series {drawn.name}"]
    notes.append(_counts(drawn.rows, scores))
    if len(channels) < len(rules.channels):
        notes.append(_listed(channels, rules.channels))
    for axes in panels:
        axes.yaxis.set_label_coords(-0.045, 0.5)
    return panels, notes


def _several(
    figure: Any, series: Sequence[Drawn], values: FloatArray, scores: SeriesScores, rules: _Rules
) -> tuple[Any, list[str]]:
    """Draw two panels side by side for each of the most anomalous series: the channels, and the score."""
    shown = series[:MOST_PANELS]
    grid = figure.subplots(len(shown), 2, sharex=True, squeeze=False)
    channels = list(rules.channels[:MOST_PANELS])
    centre, spread = _scales(values)
    for (left, right), drawn in zip(grid, shown, strict=True):
        for c, name in enumerate(channels):
            own = values[drawn.rows, c]
            own = own if len(channels) == 1 else (own - centre[c]) / spread[c]
            _line(left, drawn.x, own, rules, color=COLOURS[c], label=_short(name))
        left.margins(y=0.08)
        left.locator_params(axis="y", nbins=_FEW_TICKS)
        left.set_title(_short(str(drawn.name), 40), loc="left", fontsize=12, color=TEXT, fontweight="bold", pad=3)
        _score(right, drawn, scores, rules, _FEW_TICKS)
        right.set_ylabel("")
        right.set_title("score, nats", loc="left", fontsize=11, color=TEXT, pad=3)
        right.set_title(_counts(drawn.rows, scores), loc="right", fontsize=11, color=QUIET, pad=3)
        _bands((left, right), drawn, scores, rules)
    notes = [f"{len(series)} series, the most anomalous first"]
    if (hidden := len(series) - len(shown)) > 0:
        notes.append(f"{hidden} more {'is' if hidden == 1 else 'are'} not shown")
    notes.append(_listed(channels, rules.channels) + (" in standard deviations" if len(channels) > 1 else ""))
    if len(channels) > 1:
        handles, labels = grid[0, 0].get_legend_handles_labels()
        place = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "borderpad": 0.1}
        grid[0, 0].legend(
            handles[: len(channels)], labels[: len(channels)], ncols=6, fontsize=10, frameon=False, **place
        )
    return [axes for pair in grid for axes in pair], notes


def _line(axes: Any, x: FloatArray, y: FloatArray, rules: _Rules, **style: Any) -> None:
    line = line_of(x, y, rules.first, rules.last)
    axes.plot(line.x, line.y, linewidth=1.2, zorder=3, **style)
    if line.lone.any():
        axes.plot(line.x[line.lone], line.y[line.lone], ".", markersize=4, zorder=3, color=style["color"])


def _score(axes: Any, drawn: Drawn, scores: SeriesScores, rules: _Rules, most_ticks: int = MOST_PANELS) -> None:
    """Draw the scores of the windows and of the steps, the thresholds, and the flags as dots."""
    score, step = scores.score[drawn.rows], scores.step_score[drawn.rows]
    scale = NatsAxis(np.concatenate([score, step]), rules.threshold, rules.upper)
    score, step = scale.visible(score), scale.visible(step)
    _line(axes, drawn.x, score, rules, color=NORMAL, label="score of the window that ends here")
    _line(axes, drawn.x, step, rules, color=STEP, alpha=0.75, label="step score (looks at later steps too)")
    for nats in (rules.threshold, rules.upper):
        if nats is not None and np.isfinite(nats):
            label = "threshold" if nats is rules.threshold else None
            axes.axhline(nats, color=THRESHOLD, linestyle="--", linewidth=1.2, zorder=4, label=label)
    flagged = _flags(scores, drawn.rows)
    dots = envelope(drawn.x[flagged], score[flagged], rules.first, rules.last)
    axes.plot(drawn.x[flagged][dots], score[flagged][dots], "o", color=FLAGGED, markersize=4, zorder=5)
    scale.apply(axes, "y", most_ticks)
    axes.set_ylabel("score, nats" + (" (squeezed)" if scale.is_squeezed else ""), fontsize=12, color=TEXT)


def _bands(panels: Sequence[Any], drawn: Drawn, scores: SeriesScores, rules: _Rules) -> None:
    """Mark flagged steps and steps without a window over the whole height of panels."""
    waiting = np.isnan(scores.score[drawn.rows])
    places = np.flatnonzero(waiting)
    waiting[places] = [(scores.reason[row] or "").startswith(_NO_WINDOW_YET) for row in drawn.rows[places].tolist()]
    least = (rules.last - rules.first) * _PIXEL
    for is_on, color, alpha, label in (
        (waiting, BAND, 1.0, "no full window yet"),
        (_flags(scores, drawn.rows), FLAGGED, 0.22, "flagged"),
    ):
        spans = spans_of(drawn.x, is_on, least)
        if not len(spans):
            continue
        pieces = np.stack([spans[:, 0], np.maximum(spans[:, 1] - spans[:, 0], least)], axis=1)
        style = {"facecolor": color, "edgecolor": color, "linewidth": 0.6, "alpha": alpha, "zorder": 1}
        for axes in panels:
            axes.broken_barh(pieces, (0, 1), transform=axes.get_xaxis_transform(), label=label, **style)


def _finish_time(panels: Sequence[Any], rules: _Rules, *, is_date: bool) -> None:
    from matplotlib import dates

    for axes in panels:
        tidy(axes)
        axes.grid(axis="x", color=BAND, linewidth=0.8, zorder=0)
    width = rules.last - rules.first
    panels[-1].set_xlim(rules.first - 0.01 * width, rules.last + 0.01 * width)
    if is_date:
        locator = dates.AutoDateLocator(minticks=5, maxticks=12)
        panels[-1].xaxis.set_major_locator(locator)
        panels[-1].xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
    else:
        panels[-1].set_xlabel("time", fontsize=12, color=TEXT)


def _head(figure: Any, axes: Any, title: str, notes: Sequence[str], scores: SeriesScores) -> None:
    """Write the title and the notes, and explain lines and bands below the picture."""
    figure.suptitle(
        "\n".join(filter(None, [literal(title), "   |   ".join(notes)])), x=0.01, ha="left", fontsize=14, color=TEXT
    )
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=11, frameon=False)
    if scores.is_anomaly is None:
        axes.set_title("scored without flags", loc="right", fontsize=10, color=QUIET)


def _flags(scores: SeriesScores, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
    return np.zeros(len(rows), dtype=bool) if scores.is_anomaly is None else scores.is_anomaly[rows].astype(bool)


def _counts(rows: NDArray[np.intp], scores: SeriesScores) -> str:
    flagged = int(_flags(scores, rows).sum())
    return f"{len(rows):,} steps" + ("" if scores.is_anomaly is None else f", {flagged:,} flagged")


def _scales(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the mean and the standard deviation of each channel (C,), over all series."""
    known = ~np.isnan(values)
    count = np.maximum(known.sum(axis=0), 1)
    centre = np.where(known, values, 0.0).sum(axis=0) / count
    spread = np.sqrt((np.where(known, values - centre, 0.0) ** 2).sum(axis=0) / count)
    return centre, np.where(spread > 0, spread, 1.0)


def _listed(shown: Sequence[str], channels: Sequence[str]) -> str:
    if len(shown) == len(channels):
        return f"channel {channels[0]!r}" if len(channels) == 1 else f"{len(channels)} channels"
    return f"the first {len(shown)} of {len(channels)} channels"


def _short(name: str, most: int = 18) -> str:
    return literal(name if len(name) <= most else f"{name[: most - 1]}…")
