"""The columns of windows and images: all cells of a channel are of one kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.kinds import check_modelled, infer_column
from anomaly_vae.columns.schema import Column, Kind, Schema
from anomaly_vae.columns.shapes import ImageShape, SeriesShape, Shape, cell_names
from anomaly_vae.errors import InvalidInput

__all__ = ["channel_of_cell", "channel_values", "plan_cells"]

# Values of a channel that are looked at, at most. Chosen, not measured: it bounds the time.
_MOST_VALUES = 500_000


def channel_values(shape: Shape, rows: FloatArray, channel: int) -> FloatArray:
    """Return values of a channel from rows (N, D) that are not missing, (n,).

    Windows overlap: their first cells up to the start of the next window, and their last ones, have nearly all steps,
    and hardly any step more than twice.
    """
    cells = rows[:, channel :: shape.num_channels]
    if isinstance(shape, SeriesShape):
        cells = cells[:, [*range(min(shape.stride, shape.length - 1)), shape.length - 1]]
    most = max(_MOST_VALUES // cells.shape[1], 1)
    values = cells[:: -(-len(cells) // most)].ravel() if len(cells) > most else cells.ravel()
    return values[~np.isnan(values)]


def channel_of_cell(shape: Shape, cell: int) -> int:
    """Return the channel of a cell of a row."""
    return cell % shape.num_channels


def plan_cells(shape: Shape, rows: FloatArray, kinds: Mapping[str, Kind] | None = None) -> Schema:
    """Return the columns of windows or images.

    Args:
        shape: What a row is.
        rows: Training rows in data units, NaN where a cell is missing, shape (N, D).
        kinds: Kinds of channels that the user set, by name.

    Raises:
        InvalidInput: A channel is empty, or no channel varies.
        ConfigError: A kind does not fit the values of a channel.
    """
    channels = [
        _channel(shape, name, channel_values(shape, rows, c), (kinds or {}).get(name), len(rows))
        for c, name in enumerate(_channel_names(shape))
    ]
    check_modelled(channels, len(rows))
    columns = tuple(
        msgspec.structs.replace(channels[channel_of_cell(shape, d)], name=name)
        for d, name in enumerate(cell_names(shape))
    )
    return Schema(columns=columns, shape=shape)


def _channel(shape: Shape, name: str, values: FloatArray, kind: Kind | None, num_rows: int) -> Column:
    is_byte = isinstance(shape, ImageShape) and shape.depth == "uint8" and values.max(initial=0.0) > 1.0
    if is_byte and values.min() < values.max():
        return Column(name=name, kind="integer", step=1.0, origin=0.0)  # also where training has few levels
    if not len(values):
        raise InvalidInput(
            f"channel {name!r} has no value in the {num_rows:,} training {_rows_of(shape)}; leave it out", field=name
        )
    return infer_column(name, values, kind=kind)


def _rows_of(shape: Shape) -> str:
    return "windows" if isinstance(shape, SeriesShape) else "images"


def _channel_names(shape: Shape) -> Sequence[str]:
    if isinstance(shape, SeriesShape):
        return shape.channels
    return ["pixels"] if shape.channels == 1 else [f"channel {c}" for c in range(shape.channels)]
