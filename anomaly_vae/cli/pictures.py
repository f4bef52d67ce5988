"""The pictures of ``score --plot`` and ``encode --plot``; matplotlib is imported only when one is drawn."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.batch.extremes import Extremes
from anomaly_vae.batch.image_scoring import bits_per_dim
from anomaly_vae.errors import ConfigError
from anomaly_vae.scores import Flags, Scores, join

if TYPE_CHECKING:
    from anomaly_vae.batch import SeriesInput
    from anomaly_vae.client import Client
    from anomaly_vae.scorer import Scorer
    from anomaly_vae.series.results import SeriesScores

__all__ = ["ImageScores", "Latents", "TableScores", "check_plot", "draw_series"]

# Most rows of a table and most latent positions that a picture shows: the first ones. Chosen, not measured: they are
# held in memory, about 100 MB.
_MOST_ROWS = 1_000_000

# Images of a picture on either side, and synthetic images. Chosen, not measured.
_SHOWN = 10

# The range of seconds that are dates: 1973 to 5138, as in anomaly_vae.series.clock.
_FIRST_DATE, _LAST_DATE = 1e8, 1e11

Thresholds = tuple[float, float | None]


def check_plot(path: Path | None, *, overwrite: bool, flag_only: bool = False) -> None:
    """Raise ConfigError if a picture cannot be drawn or written; called before any work."""
    if path is None:
        return
    if flag_only:
        raise ConfigError("--plot shows scores, and --flag-only gives none; leave out one of the two")
    from anomaly_vae.plot.canvas import refuse_format
    from anomaly_vae.storage import refuse_file

    refuse_format(path)
    refuse_file(path, overwrite=overwrite)
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError("--plot needs matplotlib: pip install 'anomaly_vae[train]'")


def draw_series(
    path: Path, series: SeriesInput, scores: SeriesScores, thresholds: Thresholds, *, title: str = ""
) -> None:
    """Draw the series of a table and their scores, in the order of time; rows without a time are left out.

    Args:
        path: The picture.
        series: The series.
        scores: The scores of all rows.
        thresholds: The threshold and the upper one, or None, nats.
        title: The title.
    """
    from anomaly_vae.plot import plot_series

    rows = np.concatenate([np.empty(0, dtype=np.intp), *(each.rows for each in series.panel.series)])
    times: NDArray[Any] = rows if series.seconds is None else _times(series.seconds[rows])
    plot_series(
        path,
        times,
        series.panel.values[rows],
        series.shape.channels,
        scores[rows],
        thresholds[0],
        upper_threshold=thresholds[1],
        title=title,
        names=None if series.names is None else [series.names[row] for row in rows.tolist()],
    )


class TableScores:
    """Collects the scores of a table for a histogram: of the first 1,000,000 rows."""

    def __init__(self, path: Path | None) -> None:
        self._path, self._parts, self._count = path, list[Scores](), 0

    def add(self, scores: Scores | Flags) -> None:
        """Take the scores of a batch."""
        if self._path is not None and isinstance(scores, Scores) and self._count < _MOST_ROWS:
            self._parts.append(scores)
            self._count += len(scores)

    def draw(self, thresholds: Thresholds) -> None:
        """Draw the picture, if there is one to draw."""
        from anomaly_vae.plot import plot_scores

        if self._path is not None and self._parts:
            plot_scores(self._path, join(self._parts), thresholds[0], upper_threshold=thresholds[1])


class ImageScores:
    """Collects the most and the least likely images for a picture, and the mean of the bits per dimension."""

    def __init__(self, path: Path | None, *, heat: bool = False) -> None:
        """Collect for a picture; ``heat`` also shows where the least likely images are surprising."""
        self._path, self._extremes, self._heat = path, Extremes(_SHOWN), heat
        self._bits, self._count = 0.0, 0

    def add(self, numbers: Sequence[int], rows: FloatArray, scores: Scores) -> None:
        """Take scored images."""
        bits = bits_per_dim(scores.log_px, rows)
        known = bits[~np.isnan(bits)]
        self._bits, self._count = self._bits + float(known.sum()), self._count + len(known)
        if self._path is not None:
            self._extremes.add(numbers, rows, scores)

    @property
    def mean_bits(self) -> float | None:
        """Mean bits per dimension of the images with a score; None without any."""
        mean = self._bits / self._count if self._count else math.nan
        return mean if math.isfinite(mean) else None

    def draw(self, scorer: Scorer | Client, names: Sequence[str], *, title: str = "") -> None:
        """Draw the picture, if there is one to draw; a service gives no reconstructions and no synthetic images."""
        if self._path is None or not len(self._extremes):
            return
        from anomaly_vae.plot import plot_images

        shape = scorer.schema.shape
        if shape is None:
            raise TypeError("the model is not one of images")
        rows = self._extremes.rows
        images = _as_images(rows.reshape(len(rows), *shape.sizes))
        reconstructions = samples = heat = None
        if (local := _local(scorer)) is not None:
            reconstructions = _as_images(local.reconstruct(rows))
            heat = local.heat_map(rows) if self._heat else None
            samples = _as_images(local.sample(_SHOWN).reshape(_SHOWN, *shape.sizes))
        plot_images(
            self._path,
            images,
            self._extremes.scores,
            names=[names[number] for number in self._extremes.numbers],
            reconstructions=reconstructions,
            samples=samples,
            heat=heat,
            title=f"{title}: of {len(names):,} images" if title else "",
        )


class Latents:
    """Collects positions in the latent space for a map: the first 1,000,000 ones."""

    def __init__(self, path: Path | None) -> None:
        self._path, self._parts, self._count = path, list[FloatArray](), 0

    def add(self, means: FloatArray) -> None:
        """Take the positions of a batch, shape (n, L)."""
        if self._path is not None and self._count < _MOST_ROWS:
            self._parts.append(means)
            self._count += len(means)

    def draw(self, *, title: str = "") -> None:
        """Draw the picture, if there is one to draw: the two dimensions, or the first two principal directions."""
        if self._path is None or not self._count:
            return
        from anomaly_vae.plot import plot_latent
        from anomaly_vae.plot.projection import project

        means = np.concatenate(self._parts)
        points, note = project(means)
        plot_latent(self._path, points, title=f"{title}: {note}" if title else note)


def _times(seconds: FloatArray) -> NDArray[Any]:
    """Return seconds as dates if they can be dates, otherwise as they are."""
    if len(seconds) and seconds.min() >= _FIRST_DATE and seconds.max() < _LAST_DATE:
        return np.rint(seconds * 1e6).astype("datetime64[us]")
    return seconds


def _as_images(values: FloatArray) -> FloatArray:
    """Return images (N, H, W, C) with 1, 3 or 4 channels; of other numbers of channels the first one."""
    return values if values.shape[-1] in (1, 3, 4) else values[..., :1]


def _local(scorer: Scorer | Client) -> Scorer | None:
    from anomaly_vae.scorer import Scorer

    return scorer if isinstance(scorer, Scorer) else None
