"""A map of the latent space."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.errors import InvalidInput
from anomaly_vae.plot.canvas import FLAGGED, NORMAL, QUIET, TEXT, finished, literal, new_figure, refuse_format, tidy

__all__ = ["plot_latent"]

_WIDTH, _HEIGHT = 1100, 950

# Points that a map shows without overlapping; more are smaller and fainter.
_FEW_POINTS = 1000

# Labels with a colour of their own; the others share grey. The colours are the muted ones of Paul Tol, which leave out
# the colour of anomalies, and black: https://personal.sron.nl/~pault/.
_LABEL_COLOURS = (
    "#332288",
    "#88CCEE",
    "#44AA99",
    "#117733",
    "#999933",
    "#DDCC77",
    "#CC6677",
    "#882255",
    "#AA4499",
    "#000000",
)
_OTHERS = "#BBBBBB"


def plot_latent(
    path: str | Path | None,
    latents: FloatArray,
    is_anomaly: NDArray[np.bool_] | None = None,
    labels: Sequence[Any] | None = None,
    title: str = "",
) -> Any:
    """Draw a map of rows in two latent dimensions.

    Anomalies are triangles. Labels give colours: numbers of more than 10 values by a scale, others by a list of the
    10 most frequent ones.

    Args:
        path: The picture to write: .png, .svg or .pdf, or None to return the figure.
        latents: Coordinates, shape (N, 2), such as the first two columns of ``Scorer.encode``. With more latent
            dimensions give a projection.
        is_anomaly: Which rows are anomalies, shape (N,).
        labels: One for each row.
        title: Above the picture.

    Raises:
        InvalidInput: The shapes do not fit.
        ConfigError: matplotlib is not installed, or the file cannot be written.
    """
    refuse_format(path)
    latents = np.asarray(latents, dtype=np.float64)
    if latents.ndim != 2 or latents.shape[1] != 2:
        raise InvalidInput(
            f"latents: shape {latents.shape}, expected (N, 2); project more dimensions first", field="latents"
        )
    for name, each in (("is_anomaly", is_anomaly), ("labels", labels)):
        if each is not None and len(each) != len(latents):
            raise InvalidInput(f"{name}: {len(each)} entries for {len(latents)} rows", field=name)
    odd = np.zeros(len(latents), dtype=bool) if is_anomaly is None else np.asarray(is_anomaly, dtype=bool)
    figure = new_figure(_WIDTH, _HEIGHT)
    axes = figure.subplots()
    size = float(np.clip(28 * (_FEW_POINTS / max(len(latents), 1)) ** 0.5, 3, 28))
    style = {"linewidths": 0, "alpha": 0.8 if len(latents) <= _FEW_POINTS else 0.5}
    if labels is None:
        _points(axes, latents, odd, size, style, NORMAL, f"not flagged ({(~odd).sum():,})" if odd.any() else None)
    else:
        _by_label(figure, axes, latents, odd, size, style, np.asarray(labels))
    if odd.any():
        edge = {"edgecolors": "white", "linewidths": 0.5}
        colour = {"color": FLAGGED, "label": f"flagged ({odd.sum():,})"}
        axes.scatter(*latents[odd].T, s=max(2 * size, 26), marker="^", zorder=4, **colour, **edge)
    tidy(axes)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel("first latent dimension", fontsize=12, color=TEXT)
    axes.set_ylabel("second latent dimension", fontsize=12, color=TEXT)
    axes.set_title(literal(title) or f"{len(latents):,} rows in the latent space", loc="left", fontsize=14, color=TEXT)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=11, labelcolor=TEXT, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    return finished(figure, path)


def _points(axes: Any, latents: FloatArray, odd: Any, size: float, style: Any, color: str, label: str | None) -> None:
    axes.scatter(*latents[~odd].T, s=size, color=color, label=label, zorder=3, **style)


def _by_label(
    figure: Any, axes: Any, latents: FloatArray, odd: Any, size: float, style: Any, labels: NDArray[Any]
) -> None:
    """Colour rows by their labels."""
    if labels.dtype.kind in "iuf" and len(np.unique(labels)) > len(_LABEL_COLOURS):
        points = axes.scatter(*latents[~odd].T, s=size, c=labels[~odd], cmap="viridis", zorder=3, **style)
        figure.colorbar(points, ax=axes, shrink=0.6).ax.tick_params(colors=QUIET, labelsize=11)
        return
    texts = np.array([str(label) for label in labels.tolist()])
    found, counts = np.unique(texts, return_counts=True)
    shown = np.sort(found[np.argsort(-counts, kind="stable")[: len(_LABEL_COLOURS)]])
    if len(others := np.setdiff1d(found, shown)):
        _points(axes, latents, odd | ~np.isin(texts, others), size, style, _OTHERS, f"{len(others)} others")
    for colour, label in zip(_LABEL_COLOURS, shown.tolist(), strict=False):
        _points(axes, latents, odd | (texts != label), size, style, colour, label)
