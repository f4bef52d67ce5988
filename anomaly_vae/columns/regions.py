"""The cells that are explained together: one column of a table, some steps of a channel, a rectangle of an image."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np

from anomaly_vae.columns.schema import Schema
from anomaly_vae.columns.shapes import ImageShape, SeriesShape

__all__ = ["Region", "regions_of", "rows_of_work"]

# Most regions of a window, over all channels, and rectangles along the longer side of an image. Chosen: each region of
# a row costs about as much as a score, and smaller ones say little, because their neighbours make up for them.
_MOST_STEPS, _MOST_ALONG = 64, 8

# How many rows could be scored in the time that explaining one takes, and one more for so many regions. Measured on
# flagged rows of eight tables: 13 to 17 with 8 to 15 columns, 24 where the model is harder to fit, 28 with 80 columns.
_LEAST_ROWS, _REGIONS_PER_ROW = 10.0, 5.0

# Regions of one channel: 8 steps each with the default window of 128 steps.
_MOST_OF_CHANNEL = 16


class Region(NamedTuple):
    """Some cells.

    Attributes:
        name: What they are called.
        cells: Indices of the columns of the schema, increasing.
    """

    name: str
    cells: tuple[int, ...]


def regions_of(schema: Schema) -> tuple[Region, ...]:
    """Return the regions that cover a row.

    Examples:
        >>> from anomaly_vae.columns.shapes import SeriesShape, cell_names
        >>> from anomaly_vae.columns.schema import Column
        >>> shape = SeriesShape(length=32, channels=("flow",))
        >>> columns = tuple(Column(name=name, kind="continuous") for name in cell_names(shape))
        >>> [region.name for region in regions_of(Schema(columns=columns, shape=shape))][-2:]
        ['flow[-3..-2]', 'flow[-1..0]']
    """
    if isinstance(schema.shape, SeriesShape):
        return _of_window(schema.shape)
    if isinstance(schema.shape, ImageShape):
        return _of_image(schema.shape)
    return tuple(Region(name, (d,)) for d, name in enumerate(schema.column_names))


def rows_of_work(schema: Schema) -> float:
    """Return how many rows could be scored in the time that explaining one row takes, about."""
    return _LEAST_ROWS + len(regions_of(schema)) / _REGIONS_PER_ROW


def _of_window(shape: SeriesShape) -> tuple[Region, ...]:
    """Cut each channel into runs of steps of one length; the last ends at the last step."""
    cells = np.arange(shape.num_cells).reshape(shape.sizes)
    per_channel = max(min(_MOST_STEPS // shape.num_channels, _MOST_OF_CHANNEL), 1)
    length = math.ceil(shape.length / per_channel)
    ends = range(shape.length, 0, -length)
    found = []
    for c, name in enumerate(shape.channels):
        for end in reversed(ends):
            start = max(end - length, 0)
            first, last = start - shape.length + 1, end - shape.length
            steps = f"{first}..{last}" if first < last else f"{last}"
            found.append(Region(f"{name}[{steps}]", tuple(cells[start:end, c].tolist())))
    return tuple(found)


def _of_image(shape: ImageShape) -> tuple[Region, ...]:
    """Cut the image into squares, smaller at the lower and the right edge; all channels of a pixel stay together."""
    cells = np.arange(shape.num_cells).reshape(shape.sizes)
    side = math.ceil(max(shape.height, shape.width) / _MOST_ALONG)
    tops, lefts = range(0, shape.height, side), range(0, shape.width, side)
    found = []
    for top, left in itertools.product(tops, lefts):
        bottom, right = min(top + side, shape.height), min(left + side, shape.width)
        name = f"y{_span(top, bottom)} x{_span(left, right)}"
        found.append(Region(name, tuple(cells[top:bottom, left:right].ravel().tolist())))
    return tuple(found)


def _span(start: int, end: int) -> str:
    return str(start) if end - start == 1 else f"{start}..{end - 1}"
