"""Rows with a shape: windows of time series, and images. Their cells are the columns of the model.

A window of T steps and C channels is a row of T * C cells, and an image of H x W pixels with C channels one of
H * W * C cells, in the order of a C-contiguous array [T, C] or [H, W, C]: the channel changes fastest.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from msgspec import Meta

from anomaly_vae.columns.reading.records import Input
from anomaly_vae.record import Record

__all__ = ["MOST_CELLS", "ImageShape", "SeriesShape", "Shape", "cell_names"]

# Cells of a window or an image, at most. Chosen, not measured: each cell is a column with a head of its own.
MOST_CELLS = 2**14

_Size = Annotated[int, Meta(ge=1, le=MOST_CELLS)]


class SeriesShape(Record, tag="series", tag_field="kind"):
    """Windows of time series.

    Attributes:
        length: Steps of a window.
        channels: The names of the value columns.
        stride: Steps from one training window to the next. Scores are for every step in any case.
        step_seconds: Time between two steps, seconds; None if the rows of the table are the steps.
        timestamp, series: Names of the columns with the times, and with the names of the series; None without.
        inputs: How the columns of the training table are read, in its order.
        standardisation: "series": the level and the scale of a channel are those of all training steps.
    """

    length: Annotated[int, Meta(ge=2, le=MOST_CELLS)]
    channels: Annotated[tuple[str, ...], Meta(min_length=1, max_length=MOST_CELLS)]
    stride: _Size = 1
    step_seconds: Annotated[float, Meta(gt=0.0)] | None = None
    timestamp: str | None = None
    series: str | None = None
    inputs: tuple[Input, ...] = ()
    standardisation: Literal["series"] = "series"

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape of one row: [length, channels]."""
        return (self.length, len(self.channels))

    @property
    def plane(self) -> tuple[int, int]:
        """Height and width of the cells of one channel, as the networks see them."""
        return (1, self.length)

    @property
    def num_channels(self) -> int:
        """Number of channels."""
        return len(self.channels)

    @property
    def num_cells(self) -> int:
        """Cells of one row."""
        return math.prod(self.sizes)


class ImageShape(Record, tag="image", tag_field="kind"):
    """Images.

    Attributes:
        height, width: Pixels.
        channels: Values of a pixel: 1 for grey, 3 for colours.
        depth: "uint8" if the values are whole numbers from 0 to 255, as in files; "float" for other numbers.
        low, high: The range of the values: 0 to 255, or that of the training images.
        resized: Whether images of other sizes are resized to this one, as in training.
    """

    height: _Size
    width: _Size
    channels: Annotated[int, Meta(ge=1, le=64)] = 1
    depth: Literal["uint8", "float"] = "uint8"
    low: float = 0.0
    high: float = 255.0
    resized: bool = False

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape of one row: [height, width, channels]."""
        return (self.height, self.width, self.channels)

    @property
    def plane(self) -> tuple[int, int]:
        """Height and width of the cells of one channel, as the networks see them."""
        return (self.height, self.width)

    @property
    def num_channels(self) -> int:
        """Number of channels."""
        return self.channels

    @property
    def num_cells(self) -> int:
        """Cells of one row."""
        return math.prod(self.sizes)


Shape = SeriesShape | ImageShape


def cell_names(shape: Shape) -> tuple[str, ...]:
    """Return the name of each cell, in order.

    Examples:
        >>> cell_names(SeriesShape(length=2, channels=("flow", "load")))
        ('flow[-1]', 'load[-1]', 'flow[0]', 'load[0]')
        >>> cell_names(ImageShape(height=1, width=2, channels=1))
        ('y0x0', 'y0x1')
    """
    if isinstance(shape, SeriesShape):
        return tuple(f"{name}[{step - shape.length + 1}]" for step in range(shape.length) for name in shape.channels)
    places = [f"y{y}x{x}" for y in range(shape.height) for x in range(shape.width)]
    if shape.channels == 1:
        return tuple(places)
    return tuple(f"{place}c{c}" for place in places for c in range(shape.channels))
