"""A picture of the most and the least likely images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.errors import InvalidInput
from anomaly_vae.plot.canvas import BAND, FLAGGED, TEXT, finished, literal, new_figure, refuse_format
from anomaly_vae.plot.image_cells import four_axes, limits_of, to_colours
from anomaly_vae.scores import Scores

__all__ = ["MOST_COLUMNS", "plot_images"]

# Images side by side: each is about 150 pixels wide, and its text can be read.
MOST_COLUMNS = 10

_WIDTH, _ROW_HEIGHT, _TEXT_HEIGHT = 1600, 150, 62

# With fewer columns than this, the others stay empty, so that images are not huge.
_FEWEST_COLUMNS = 6

# Pixels of the title.
_TITLE_HEIGHT = 70

# Letters of a name of a file, its last ones.
_NAME_LETTERS = 22


def plot_images(
    path: str | Path | None,
    images: NDArray[Any],
    scores: Scores,
    names: Sequence[Any] | None = None,
    reconstructions: NDArray[Any] | None = None,
    samples: NDArray[Any] | None = None,
    title: str = "",
    heat: NDArray[Any] | None = None,
) -> Any:
    """Draw the 10 least likely and the 10 most likely images, with log p(x), p-value and bits per dimension.

    Flagged images have an orange frame. Missing pixels are purple.

    Args:
        path: The picture to write: .png, .svg or .pdf, or None to return the figure.
        images: (N, height, width) or (N, height, width, channels): uint8, or numbers from 0 to 255, from 0 to 1 or of
            any other range; with another number of channels than 1, 3 or 4, their mean is drawn.
        scores: One entry for each image; images without a score are left out.
        names: One for each image, such as the name of its file; None for its number.
        reconstructions: What the model makes of each image, in the shape of ``images``; drawn below it.
        samples: Images that the model draws, shape (S, ...); the last row.
        title: Above the picture.
        heat: Where each image is surprising, nats, in the shape of ``images``, such as ``Scorer.heat_map``; drawn below
            the least likely images: the darker, the more.

    Raises:
        InvalidInput: The shapes do not fit, or no image has a score.
        ConfigError: matplotlib is not installed, or the file cannot be written.
    """
    refuse_format(path)
    images = four_axes("images", images)
    known = _checked(images, scores, names, reconstructions, heat)
    order = known[np.argsort(scores.score[known], kind="stable")]
    low, high = limits_of(images[order])
    count = min(MOST_COLUMNS, math.ceil(len(order) / 2))
    lines: list[_Line] = []
    for text, rows in (("least likely", order[:count]), ("most likely", order[count:][::-1][:count])):
        if len(rows):
            captions = [_caption(row, images[0].size, scores, names) for row in rows.tolist()]
            frames = [scores.is_anomaly is not None and bool(scores.is_anomaly[row]) for row in rows.tolist()]
            lines.append(_Line(text, to_colours(images[rows], low, high), captions, frames))
            if reconstructions is not None:
                made = four_axes("reconstructions", reconstructions)[rows]
                lines.append(_Line("reconstructed", to_colours(made, low, high)))
            if heat is not None and text == "least likely":
                lines.append(_Line("surprise", _heat_colours(four_axes("heat", heat)[rows])))
    if samples is not None and len(samples):
        drawn = four_axes("samples", samples)[:MOST_COLUMNS]
        lines.append(_Line("samples", to_colours(drawn, low, high)))
    num_captions = sum(bool(line.captions) for line in lines)
    figure = new_figure(_WIDTH, _TITLE_HEIGHT + len(lines) * _ROW_HEIGHT + num_captions * _TEXT_HEIGHT)
    _draw(figure, lines)
    flagged = "" if scores.is_anomaly is None else f", {int(scores.is_anomaly[known].sum()):,} flagged (orange frame)"
    head = "\n".join(filter(None, [literal(title), f"{len(images):,} images{flagged}"]))
    figure.suptitle(head, x=0.01, ha="left", fontsize=14, color=TEXT)
    return finished(figure, path)


def _heat_colours(heat: NDArray[Any]) -> FloatArray:
    """Return the surprise of cells (N, H, W, C) as colours: white for none, dark for the largest of each image."""
    from matplotlib import colormaps

    nats = np.clip(heat.sum(axis=-1), 0.0, None)
    most = nats.max(axis=(1, 2), keepdims=True)
    return np.asarray(colormaps["OrRd"](nats / np.where(most > 0.0, most, 1.0))[..., :3])


class _Line(NamedTuple):
    """Images side by side: their name, their colours, and the caption and the frame of each."""

    name: str
    images: FloatArray
    captions: Sequence[str] = ()
    flagged: Sequence[bool] = ()


def _checked(images: NDArray[Any], scores: Scores, names: Any, reconstructions: Any, heat: Any) -> NDArray[np.intp]:
    """Return the images that have a score."""
    for name, each in (("scores", scores), ("names", names), ("reconstructions", reconstructions), ("heat", heat)):
        if each is not None and len(each) != len(images):
            raise InvalidInput(f"{name}: {len(each)} entries for {len(images)} images", field=name)
    known = np.flatnonzero(~np.isnan(scores.score))
    if not len(known):
        raise InvalidInput("scores: no image has a score, so there is nothing to draw", field="scores")
    return known


def _draw(figure: Any, lines: Sequence[_Line]) -> None:
    columns = max(_FEWEST_COLUMNS, *(len(line.images) for line in lines))
    grid = figure.subplots(len(lines), columns, squeeze=False)
    for line, panels in zip(lines, grid, strict=True):
        panels[0].set_ylabel(line.name, fontsize=12, color=TEXT, labelpad=8)
        for i, axes in enumerate(panels):
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
            if i >= len(line.images):
                continue
            axes.imshow(line.images[i], interpolation="nearest")
            if line.captions:
                axes.set_title(literal(line.captions[i]), fontsize=9, color=TEXT, pad=5, linespacing=1.25)
            is_flagged = bool(line.flagged) and line.flagged[i]
            axes.spines[:].set(visible=True, color=FLAGGED if is_flagged else BAND, linewidth=3 if is_flagged else 1)


def _caption(row: int, num_cells: int, scores: Scores, names: Sequence[Any] | None) -> str:
    """Return the name, the score and the p-value of an image, and bits per dimension."""
    name = f"image {row + 1}" if names is None else str(names[row])
    name = name if len(name) <= _NAME_LETTERS else f"…{name[1 - _NAME_LETTERS :]}"
    log_px = float(scores.log_px[row])
    bits = -log_px / (num_cells * math.log(2))
    p_value = "" if scores.p_value is None else f", p {scores.p_value[row]:.2g}"
    numbers = f"log p {log_px:,.1f}{p_value}\n{bits:.3g} bits/dim".replace("-", "\N{MINUS SIGN}")
    return f"{name}\n{numbers}"
