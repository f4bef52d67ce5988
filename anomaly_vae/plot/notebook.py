"""Pictures for notebooks: each function draws on the axes that it is given, or on new ones, and returns them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from anomaly_vae.errors import InvalidInput
from anomaly_vae.explained import Why
from anomaly_vae.plot.canvas import BAND, FLAGGED, NORMAL, QUIET, STEP, TEXT, THRESHOLD, axes_of, literal, tidy
from anomaly_vae.plot.histograms import draw_scores
from anomaly_vae.plot.projection import project
from anomaly_vae.scores import Scores

__all__ = ["chance_band", "distribution", "latent_map", "p_values", "waterfall"]

_WIDTH, _HEIGHT, _MAP_HEIGHT = 900, 520, 700

# Height of the picture of one row, by its columns, pixels.
_EDGES_HEIGHT, _BAR_HEIGHT = 120, 62

_BINS = 20

# 97.5 % quantile of the normal distribution: chance leaves the band with a probability of 5 %.
_TWO_SIDED = 1.96

# Expected counts up to this one have the quantiles of a Poisson distribution, larger ones those of a normal one.
_FEW = 100.0

# The colours of a map end at these percentiles of log p(x) of rows that are not flagged: others can lie thousands of
# nats below.
_COLOUR_RANGE = (2.0, 98.0)

# Letters of a value that a picture shows.
_VALUE_LETTERS = 28

# Letters of what was expected: about those for which the picture of one row has room.
_EXPECTED_LETTERS = 44


def waterfall(whys: Sequence[Why], ax: Any = None) -> Any:
    """Draw why one row is an anomaly: for each column by how many nats it is more surprising than usual.

    Each bar has the column and its value on the left, and on the right what was expected, and the p-value that the row
    would have without this cell. The thin line is one standard error on either side.

    Args:
        whys: Of one row, such as ``scorer.explain(X)[0]``.
        ax: Axes of matplotlib to draw on; None for new ones.

    Returns:
        The axes; ``axes.figure.savefig("why.png")`` writes them.

    Raises:
        InvalidInput: There is no column to draw.
        ConfigError: matplotlib is not installed.
    """
    if not len(whys):
        raise InvalidInput("whys: the row has no column to draw", field="whys")
    axes = axes_of(ax, _WIDTH, _EDGES_HEIGHT + _BAR_HEIGHT * len(whys))
    excess = np.array([why.excess for why in whys])
    error = np.array([why.std_error if math.isfinite(why.std_error) else 0.0 for why in whys])
    places = np.arange(len(whys))
    colours = [FLAGGED if nats > 0.0 else NORMAL for nats in excess.tolist()]
    axes.barh(places, excess, height=0.5, color=colours, xerr=error, error_kw={"ecolor": TEXT, "linewidth": 1})
    axes.axvline(0.0, color=QUIET, linewidth=1)
    axes.set_yticks(places, [literal(f"{why.column}\n{_short(why.found, _VALUE_LETTERS)}") for why in whys])
    for place, why, nats in zip(places.tolist(), whys, excess.tolist(), strict=True):
        text = literal(f"expected {_short(why.expected, _EXPECTED_LETTERS)}")
        if why.p_value_without is not None:
            text += f"\np-value {why.p_value_without:.2g} without it"
        axes.annotate(text, (max(nats, 0.0), place), (8, 0), textcoords="offset points", va="center", color=TEXT)
    axes.set_ylim(len(whys) - 0.4, -0.6)
    least, most = min(float(excess.min()), 0.0), max(float(excess.max()), 0.0)
    axes.set_xlim(least - 0.03 * (most - least), most + 0.6 * max(most - least, 1.0))  # room for the texts
    tidy(axes)
    axes.set_xlabel("surprise above the usual, given the other columns, nats", color=TEXT)
    axes.set_title(literal(_title(whys)), loc="left", color=TEXT)
    return axes


def distribution(scores: Scores, threshold: Any = None, ax: Any = None) -> Any:
    """Draw the histogram of the scores of rows, with the thresholds; flagged rows have their own colour.

    Args:
        scores: Of rows, windows or images; entries without a score are left out.
        threshold: Nats; or a pair, the threshold and the upper one; or the scorer or client that has them. None draws
            none.
        ax: As for :func:`waterfall`.

    Returns:
        The axes.

    Raises:
        InvalidInput: No row has a score.
        ConfigError: matplotlib is not installed.
    """
    if not (~np.isnan(scores.score)).any():
        raise InvalidInput("scores: no row has a score, so there is nothing to draw", field="scores")
    low, high = _thresholds(threshold)
    axes = axes_of(ax, _WIDTH, _HEIGHT)
    draw_scores(axes, scores, low, high)
    tidy(axes)
    return axes


def p_values(scores: Scores, ax: Any = None) -> Any:
    """Draw how evenly the p-values of rows are spread: those of rows like the calibration rows are.

    The bars are a histogram, with a band in which a bar lies with a probability of 95 % if all rows are normal and the
    calibration rows are many more: the band leaves out the chance in these, as ``anomaly-vae drift`` does not. The
    line (right axis) is the share of rows with at most this p-value; then it follows the dashed diagonal.

    Args:
        scores: Of rows, windows or images; entries without a p-value are left out.
        ax: As for :func:`waterfall`.

    Returns:
        The axes of the histogram.

    Raises:
        InvalidInput: There are no p-values.
        ConfigError: matplotlib is not installed.
    """
    found = np.empty(0) if scores.p_value is None else scores.p_value[~np.isnan(scores.p_value)]
    if not len(found):
        raise InvalidInput("scores: there are no p-values to draw", field="scores")
    axes = axes_of(ax, _WIDTH, _HEIGHT)
    low, high = chance_band(len(found), _BINS)
    axes.axhspan(low, high, color=BAND, zorder=1, label=f"by chance, 95 %: {low:,.0f} to {high:,.0f} rows")
    borders = np.linspace(0.0, 1.0, _BINS + 1)
    upwards = found * (1.0 - 1e-12)  # multiples of 1 / (n + 1): one on a border belongs to the bar that ends there
    axes.hist(upwards, borders, color=NORMAL, rwidth=0.85, alpha=0.8, zorder=2, label=f"{len(found):,} rows")
    axes.set_xlim(0.0, 1.0)
    axes.set_ylim(0.0, 1.2 * max(axes.get_ylim()[1], high))  # room for the legend
    axes.set_xlabel("p-value", color=TEXT)
    axes.set_ylabel("rows in a bar", color=TEXT)
    axes.set_title("p-values", loc="left", color=TEXT)
    tidy(axes)
    _draw_shares(axes, np.sort(found))
    return axes


def _draw_shares(axes: Any, ordered: Any) -> None:
    """Draw the share of rows up to each p-value on a right axis, and the legend of both."""
    shares = axes.twinx()
    shares.plot([0.0, 1.0], [0.0, 1.0], color=THRESHOLD, linestyle="--", linewidth=1)
    steps = np.arange(len(ordered) + 1) / len(ordered)
    shares.step([0.0, *ordered.tolist()], steps, where="post", color=STEP, linewidth=2, label="share of rows up to p")
    shares.set_ylim(0.0, 1.2)
    shares.set_yticks([0.0, 0.5, 1.0])
    shares.set_ylabel("share of rows", color=TEXT)
    shares.spines[["top"]].set_visible(False)
    (bars, names), (lines, more) = axes.get_legend_handles_labels(), shares.get_legend_handles_labels()
    shares.legend([*bars, *lines], [*names, *more], loc="upper center", ncols=3, frameon=False, fontsize=9)


def latent_map(scorer: Any, X: Any, ax: Any = None) -> Any:  # noqa: N803 (the name that scikit-learn uses)
    """Draw rows in the latent space, coloured by log p(x); anomalies are triangles.

    Args:
        scorer: A ``Scorer``. With more than two latent dimensions, the first two principal directions of the rows
            that are not flagged are drawn.
        X: Rows as for ``Scorer.score``.
        ax: As for :func:`waterfall`.

    Returns:
        The axes.

    Raises:
        InvalidInput: There are no rows, or they do not fit the model.
        ConfigError: matplotlib is not installed.
    """
    means = scorer.encode(X)
    if not len(means):
        raise InvalidInput("X has no rows, so there is nothing to draw", field="X")
    scores = scorer.score(X)
    odd = scores.is_anomaly.astype(bool)
    points, note = project(means, among=means if odd.all() else means[~odd])
    axes = axes_of(ax, _WIDTH, _MAP_HEIGHT)
    low, high = np.percentile(scores.log_px[~odd] if not odd.all() else scores.log_px, _COLOUR_RANGE)
    style: dict[str, Any] = {"cmap": "viridis", "vmin": low, "vmax": max(high, low + 1e-9)}
    usual = axes.scatter(*points[~odd].T, s=18, c=scores.log_px[~odd], linewidths=0, zorder=3, **style)
    if odd.any():
        look = {"marker": "^", "edgecolors": FLAGGED, "linewidths": 1, "zorder": 4, "label": f"flagged ({odd.sum():,})"}
        axes.scatter(*points[odd].T, s=40, c=scores.log_px[odd], **look, **style)
        axes.legend(frameon=False, loc="best")
    axes.figure.colorbar(usual, ax=axes, extend="both").set_label("log p(x), nats", color=TEXT)
    tidy(axes)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_title(f"{len(points):,} rows: {note}", loc="left", color=TEXT, fontsize=11)
    return axes


def chance_band(num_rows: int, num_bins: int) -> tuple[float, float]:
    """Return the range of the count in one of equally likely bins, which it leaves with a probability of 5 % or less.

    Few rows have the quantiles of a Poisson distribution, which is a little wider than the binomial one.
    """
    mean = num_rows / num_bins
    if mean > _FEW:
        reach = _TWO_SIDED * math.sqrt(mean * (1.0 - 1.0 / num_bins))
        return mean - reach, mean + reach
    counts = np.arange(int(mean + 10.0 * math.sqrt(mean) + 10.0))
    log_factorials = np.array([math.lgamma(count + 1.0) for count in counts.tolist()])
    below = np.cumsum(np.exp(counts * math.log(mean) - mean - log_factorials))
    return float(np.searchsorted(below, 0.025)), float(np.searchsorted(below, 0.975))


def _thresholds(given: Any) -> tuple[float | None, float | None]:
    if hasattr(given, "thresholds"):
        given = given.thresholds()
    low, high = given if isinstance(given, tuple) else (given, None)
    return low, high


def _title(whys: Sequence[Why]) -> str:
    together = whys[0].together
    return "Why this row" + (f": {whys[0].column} does not fit {' or '.join(together)}" if together else "")


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
