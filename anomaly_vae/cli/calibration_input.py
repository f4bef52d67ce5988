"""Read the rows, windows or images that calibrate a model, for ``anomaly-vae calibrate``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.cli.labelled_rows import check_label, read_normal_rows
from anomaly_vae.cli.model_input import channels_to_decode
from anomaly_vae.cli.reporting import warn
from anomaly_vae.cli.series_input import read_series_table, say_notes
from anomaly_vae.cli.table_options import say_how_it_was_read
from anomaly_vae.columns.rows import match_columns
from anomaly_vae.columns.schema import Schema
from anomaly_vae.columns.shapes import ImageShape, SeriesShape
from anomaly_vae.errors import ConfigError, InvalidInput
from anomaly_vae.images import Layout, is_image_input, open_images, refuse_other_shape
from anomaly_vae.record import Tail
from anomaly_vae.series.clusters import independent
from anomaly_vae.series.labelled import without_rows
from anomaly_vae.series.tables import to_panel
from anomaly_vae.series.windows import all_windows, window_rows
from anomaly_vae.table import ReadOptions, open_table

__all__ = ["CalibrationInput", "read_calibration_images", "read_calibration_input"]

# Windows or images that calibrate a model, at most, and their bytes: as many as in training. If there are more, evenly
# spread ones count.
_MOST_ROWS, _MOST_BYTES = 20_000, 2**27


class CalibrationInput(NamedTuple):
    """Normal rows that calibrate a model.

    Attributes:
        rows: Rows of the model, shape (N, D).
        unit: What they are called.
        thin: Chooses the rows that count by their scores; None if all do.
    """

    rows: FloatArray
    unit: str
    thin: Callable[[FloatArray], NDArray[np.intp]] | None = None


def read_calibration_input(
    input_: str,
    schema: Schema,
    reading: ReadOptions,
    missing_values: tuple[str, ...],
    label: str | None,
    tail: Tail,
    *,
    quiet: bool,
) -> CalibrationInput:
    """Read normal rows of a table or windows of series.

    Args:
        input_: Where they are.
        schema: What the model takes.
        reading: How to read a text file.
        missing_values: Markers of missing cells beside those of the model.
        label: The label column; rows with 1 are left out.
        tail: Which scores are anomalies.
        quiet: Print warnings only.

    Raises:
        InvalidInput: The input does not fit the model.
        ConfigError: The input is of another kind than the model.
    """
    if is_image_input(input_):
        raise ConfigError(f"INPUT {input_} holds images, and MODEL takes {_what(schema)}")
    table = open_table(input_, reading, missing_values)
    say_how_it_was_read(table, schema, quiet=quiet)
    if isinstance(shape := schema.shape, SeriesShape):
        names = [*filter(None, (shape.timestamp, shape.series)), *shape.channels]
        match_columns(table.names, tuple(names))
        check_label(table, names, label)
        keeps_steps = shape.timestamp is None and shape.series is None
        rows = read_series_table(table.source, names, label, keeps_steps=keeps_steps)
        markers = (*schema.missing_values, *missing_values)
        panel = to_panel(rows.columns, shape, markers, numbers=rows.numbers)
        say_notes(panel, quiet=quiet)
        if rows.labels is not None:
            panel = without_rows(panel, rows.labels != 0.0)
        segments = panel.segments(shape.length)
        places = all_windows(segments, shape.length)
        if not len(places):
            raise InvalidInput(f"{input_}: no series is long enough for a window of {shape.length} steps")
        places = places[_evenly(len(places), shape.num_cells)]
        thin = partial(independent, segments=places.segment, ends=places.end, length=shape.length, tail=tail)
        return CalibrationInput(window_rows(segments, places, shape.length), "windows", thin)
    match_columns(table.names, schema.names)
    if label is None and schema.label in table.names:
        label = schema.label
    cells = read_normal_rows(table, schema.reader(), label, quiet=quiet).normal
    return CalibrationInput(schema.expand(cells), "rows")


def read_calibration_images(
    input_: str, schema: Schema, layout: Layout, column: str | None, label: str | None
) -> CalibrationInput:
    """Read normal images.

    Args:
        input_: Where they are.
        schema: What the model takes.
        layout, column: As for :func:`anomaly_vae.images.open_images`.
        label: Must be None: anomalous images are to be left out.

    Raises:
        InvalidInput: The images do not fit the model.
        ConfigError: There is a label.
    """
    shape = schema.shape
    if not isinstance(shape, ImageShape):
        raise TypeError("the model takes no images")
    if label is not None:
        raise ConfigError("--label is for tables, and MODEL takes images; leave anomalous images out of INPUT")
    resize = (shape.height, shape.width) if shape.resized else None
    channels = channels_to_decode(input_, shape)
    source = open_images(input_, layout=layout, resize=resize, channels=channels, column=column)
    refuse_other_shape(source.shape, shape, source.where)
    rows = source.rows(_evenly(len(source), shape.num_cells))
    if source.problem_summary is not None:
        warn(source.problem_summary)
    return CalibrationInput(rows[~np.isnan(rows).all(axis=1)], "images")


def _evenly(count: int, num_cells: int) -> NDArray[np.intp]:
    most = min(count, _MOST_ROWS, max(_MOST_BYTES // (8 * num_cells), 1))
    return np.arange(most, dtype=np.intp) * count // max(most, 1)


def _what(schema: Schema) -> str:
    return "time series" if schema.kind == "series" else "rows of a table"
