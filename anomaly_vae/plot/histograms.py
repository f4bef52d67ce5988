"""A picture of the distribution of scores, with the thresholds, and of p-values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.errors import InvalidInput
from anomaly_vae.plot.canvas import FLAGGED, NORMAL, QUIET, TEXT, THRESHOLD, finished, new_figure, refuse_format, tidy
from anomaly_vae.plot.nats import NatsAxis
from anomaly_vae.scores import Scores

__all__ = ["draw_scores", "plot_scores"]

_WIDTH, _HEIGHT = 1600, 620

_BINS, _P_BINS = 60, 20


def plot_scores(
    path: str | Path | None, scores: Scores, threshold: float | None, upper_threshold: float | None = None
) -> Any:
    """Draw histograms of the scores and of the p-values of rows.

    P-values of normal rows are spread evenly, as the dashed line shows; anomalies add to the left end.

    Args:
        path: The picture to write: .png, .svg or .pdf, or None to return the figure.
        scores: Of rows, windows or images; entries without a score are left out.
        threshold: Nats; None or minus infinity draws none.
        upper_threshold: Nats; of models that also flag high scores.

    Raises:
        InvalidInput: No row has a score.
        ConfigError: matplotlib is not installed, or the file cannot be written.
    """
    refuse_format(path)
    known = ~np.isnan(scores.score)
    if not known.any():
        raise InvalidInput("scores: no row has a score, so there is nothing to draw", field="scores")
    figure = new_figure(_WIDTH, _HEIGHT)
    p_value = scores.p_value
    panels = figure.subplots(
        1, 1 if p_value is None else 2, squeeze=False, width_ratios=None if p_value is None else [2, 1]
    )[0]
    draw_scores(panels[0], scores, threshold, upper_threshold)
    if p_value is not None:
        _draw_p_values(panels[1], p_value[known])
    for axes in panels:
        tidy(axes)
    if (left_out := len(scores) - int(known.sum())) > 0:
        figure.text(0.01, 0.005, f"{left_out:,} rows have no score", fontsize=10, color=QUIET)
    return finished(figure, path)


def draw_scores(axes: Any, scores: Scores, threshold: float | None, upper_threshold: float | None) -> None:
    """Draw the histogram of the scores, of which one exists at least; flagged rows have their own colour."""
    known = ~np.isnan(scores.score)
    flagged = np.zeros(len(scores), dtype=bool) if scores.is_anomaly is None else scores.is_anomaly.astype(bool)
    flagged = flagged & known
    scale = NatsAxis(scores.score[known], threshold, upper_threshold)
    visible = np.clip(scores.score, scale.low, scale.high)
    parts = [visible[known & ~flagged], visible[flagged]]
    labels = [f"not flagged ({len(parts[0]):,})", f"flagged ({len(parts[1]):,})"]
    axes.hist(parts, scale.even(_BINS), stacked=True, color=[NORMAL, FLAGGED], label=labels, log=_is_uneven(parts))
    for nats, side in ((threshold, "threshold"), (upper_threshold, "upper threshold")):
        if nats is not None and np.isfinite(nats):
            axes.axvline(nats, color=THRESHOLD, linestyle="--", linewidth=1.5, label=f"{side} {nats:,.2f} nats")
    scale.apply(axes, "x")
    axes.set_xlabel("score, nats: higher is more normal", fontsize=12, color=TEXT)
    axes.set_ylabel("rows", fontsize=12, color=TEXT)
    axes.set_title("Scores", loc="left", fontsize=14, color=TEXT)
    axes.legend(loc="upper left", fontsize=11, frameon=False)


def _draw_p_values(axes: Any, p_value: FloatArray) -> None:
    # Multiples of 1 / (n + 1): one on a border belongs to the bar that ends there.
    axes.hist(p_value * (1.0 - 1e-12), np.linspace(0, 1, _P_BINS + 1), color=NORMAL)
    even = f"normal rows alone: {len(p_value) / _P_BINS:,.4g} in each bar"
    axes.axhline(len(p_value) / _P_BINS, color=THRESHOLD, linestyle="--", linewidth=1.5, label=even)
    axes.set_xlabel("p-value", fontsize=12, color=TEXT)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.15 * axes.get_ylim()[1])  # room for the legend
    axes.set_title("p-values", loc="left", fontsize=14, color=TEXT)
    axes.legend(loc="upper right", fontsize=11, frameon=False)


def _is_uneven(parts: list[Any]) -> bool:
    """Return whether few flagged rows would be invisible beside many others on a linear axis."""
    return 0 < 200 * len(parts[1]) < len(parts[0])
