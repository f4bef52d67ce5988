"""What VAEDetector is fitted to: rows of a table, time series, windows or images; and scores for each of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.image_arrays import shape_of_images, to_image_rows
from anomaly_vae.columns.rows import collected, column_names, to_rows, to_training_table
from anomaly_vae.columns.schema import Schema
from anomaly_vae.columns.shapes import ImageShape, SeriesShape
from anomaly_vae.errors import ConfigError, InvalidInput
from anomaly_vae.explained import Why
from anomaly_vae.scorer import Scorer
from anomaly_vae.series.grid import Panel
from anomaly_vae.series.scoring import score_panel
from anomaly_vae.series.tables import to_panel, to_training_panel
from anomaly_vae.series.windows import all_windows, rows_at_ends, window_rows
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.images import train_images
from anomaly_vae.training.pipeline import TrainedModel, train_table
from anomaly_vae.training.progress_bar import ProgressCallbacks
from anomaly_vae.training.windows import train_series, train_windows

__all__ = ["Fitted", "StepScores", "explanations_of_series", "fit_data", "rows_of", "scores_of_series"]


class Fitted(NamedTuple):
    """A trained model and the features of scikit-learn.

    Attributes:
        model: The model.
        num_features: Columns of a table or array, channels of an array of series, or cells of a window or an image.
        names: Their names, if the data have some.
    """

    model: TrainedModel
    num_features: int
    names: tuple[str, ...] | None


class StepScores(NamedTuple):
    """Scores of the rows of series, (N,): also of those at which no window ends."""

    score: FloatArray
    is_anomaly: NDArray[np.bool_]


def fit_data(data: Any, config: TrainConfig, bars: ProgressCallbacks) -> Fitted:
    """Train a model on data of the kind that the parameters and the number of axes tell.

    Args:
        data: As for ``VAEDetector.fit``.
        config: Parameters.
        bars: Progress.
    """
    data = collected(data)
    sizes = _sizes(data)
    report, on_calibrated = bars
    if config.window is not None and len(sizes) <= 2:
        panel = to_training_panel(
            data,
            timestamp=config.timestamp,
            series=config.series,
            leave_out=[name for name, kind in config.columns.items() if kind == "exclude"],
            missing_values=config.missing_values,
        )
        names = column_names(data)
        return Fitted(
            train_series(panel, config, report=report, on_calibrated=on_calibrated),
            len(names or panel.roles.channels),
            names,
        )
    if config.window is not None and len(sizes) == 3:
        length, channels = int(sizes[1]), int(sizes[2])
        if config.window not in ("auto", length):
            raise InvalidInput(f"X has windows of {length} steps, window={config.window}")
        names = tuple(f"x{c}" for c in range(channels))
        shape = SeriesShape(length=length, channels=names, stride=length)  # no two windows share a step
        rows = _flat_numbers(data)
        return Fitted(
            train_windows(rows, shape, config, report=report, on_calibrated=on_calibrated), rows.shape[1], None
        )
    if len(sizes) >= 3:
        if config.window is not None:
            raise ConfigError(f"window is for time series, and X has {len(sizes)} axes, as images have")
        image = shape_of_images(data)
        rows = to_image_rows(data, image)
        return Fitted(
            train_images(rows, image, config, report=report, on_calibrated=on_calibrated), rows.shape[1], None
        )
    table = to_training_table(data, config.columns, config.missing_values)
    names = tuple(each.name for each in table.inputs)
    model = train_table(table, config, report=report, on_calibrated=on_calibrated)
    return Fitted(model, len(names), names if table.has_names else None)


def rows_of(data: Any, schema: Schema, owner: str) -> FloatArray | Panel:
    """Return data to score as rows of the model, or as series of which each row gets a score.

    Args:
        data: As for ``VAEDetector.score_samples``.
        schema: What the model takes.
        owner: Name of the model in messages.
    """
    if isinstance(schema.shape, ImageShape):
        return to_image_rows(data, schema.shape)
    if isinstance(schema.shape, SeriesShape) and len(_sizes(data)) <= 2:
        return to_panel(data, schema.shape, schema.missing_values)
    return to_rows(data, schema, owner)


def scores_of_series(scorer: Scorer, panel: Panel, threshold: float) -> StepScores:
    """Return a score and a flag for each row of series, (N,).

    A row has those of the window that ends there. Without one it takes those of the next window of its series, as the
    first rows do, or of the last one; a row of a series without any window has the threshold, and is not flagged.

    Args:
        scorer: The model.
        panel: The series.
        threshold: The score of rows without any window, nats.

    Raises:
        InvalidInput: No series has a window.
    """
    shape = scorer.schema.shape
    if not isinstance(shape, SeriesShape):
        raise TypeError("the model is not of series")
    found = score_panel(scorer.score_rows, panel, shape.length)
    if not found.has_window.any():
        reason = next((text for text in found.reason if text), "the series are empty")
        raise InvalidInput(f"no row can be scored with windows of {shape.length} steps: row 0: {reason}")
    flags = np.zeros(len(found), dtype=bool) if found.is_anomaly is None else found.is_anomaly
    score, flag = np.full(len(found), threshold), np.zeros(len(found), dtype=bool)
    source = _next_windows(panel, found.has_window)
    known = source >= 0
    score[known], flag[known] = found.score[source[known]], flags[source[known]]
    return StepScores(score, flag)


def explanations_of_series(scorer: Scorer, panel: Panel, top: int) -> list[list[Why]]:
    """Return why each row of series is an anomaly: it has the window that :func:`scores_of_series` takes for it.

    A row of a series without any window has an empty list.
    """
    shape = scorer.schema.shape
    if not isinstance(shape, SeriesShape):
        raise TypeError("the model is not of series")
    segments = panel.segments(shape.length)
    places = all_windows(segments, shape.length)
    ends, has_window = rows_at_ends(segments, places), np.zeros(len(panel.values), dtype=bool)
    windows = window_rows(segments, places, shape.length) if len(places) else np.empty((0, shape.num_cells))
    found = dict(zip(ends.tolist(), scorer.explain_rows(windows, top=top), strict=True))
    has_window[ends] = True
    return [found.get(row, []) for row in _next_windows(panel, has_window).tolist()]


def _next_windows(panel: Panel, has_window: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return for each row the row where the next window of its series ends, or the last one; -1 without any, (N,)."""
    found = np.full(len(has_window), -1, dtype=np.intp)
    for series in panel.series:
        places = np.flatnonzero(has_window[series.rows])
        if len(places):
            nearest = np.minimum(np.searchsorted(places, np.arange(len(series.rows))), len(places) - 1)
            found[series.rows] = series.rows[places[nearest]]
    return found


def _sizes(data: Any) -> tuple[int, ...]:
    """Return the sizes of the axes of an array; none for a table, and for what is neither."""
    if column_names(data) is not None:
        return ()
    try:
        return tuple(getattr(data, "shape", None) or np.asarray(data).shape)
    except (TypeError, ValueError):  # rows of several lengths: the error comes where they are read
        return ()


def _flat_numbers(data: Any) -> FloatArray:
    array = np.asarray(data)
    if array.dtype.kind not in "fiub":
        raise InvalidInput(f"the array holds {array.dtype} values, expected numbers")
    rows = array.astype(np.float64).reshape(len(array), -1)
    if np.isinf(rows).any():
        raise InvalidInput("X holds an infinity; use NaN for missing values")
    return rows
