"""Train a model on windows of time series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.cells import plan_cells
from anomaly_vae.columns.schema import Kind
from anomaly_vae.columns.shapes import MOST_CELLS, SeriesShape
from anomaly_vae.columns.split import Split, split_of
from anomaly_vae.errors import ConfigError
from anomaly_vae.record import Tail
from anomaly_vae.series.clusters import independent
from anomaly_vae.series.grid import Segment
from anomaly_vae.series.period import SEGMENTS_FOR, DefaultLength, default_length
from anomaly_vae.series.tables import TrainingPanel
from anomaly_vae.series.windows import Windows, all_windows, block_split, window_rows
from anomaly_vae.training.bundle_builder import Thin
from anomaly_vae.training.checkpoint import Checkpoint
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.loop import Progress
from anomaly_vae.training.pipeline import TrainedModel, train_rows, with_seed
from anomaly_vae.training.row_source import LazyRows, evenly, most_set_aside, read_if_small, typical

__all__ = ["PanelWindows", "thinning", "train_series", "train_windows", "window_length"]


class PanelWindows:
    """The windows of a panel as a source of rows: :class:`~anomaly_vae.training.row_source.RowSource`."""

    def __init__(self, segments: Sequence[Segment], places: Windows, length: int) -> None:
        """Use windows of ``length`` steps at these places of the segments; there is at least one segment."""
        self._segments, self._places, self._length = segments, places, length
        self.num_cells = length * segments[0].values.shape[1]

    def __len__(self) -> int:
        return len(self._places)

    def take(self, numbers: NDArray[np.intp]) -> FloatArray:
        """Return the cells of windows, (n, length * channels)."""
        return window_rows(self._segments, self._places[numbers], self._length)


def train_series(
    data: TrainingPanel,
    config: TrainConfig,
    *,
    checkpoint: Checkpoint | None = None,
    report: Callable[[str, Progress], None] | None = None,
    on_calibrated: Callable[[int], None] | None = None,
) -> TrainedModel:
    """Train, export and calibrate a model on windows of series without anomalies.

    The calibration windows overlap, so that only some of them count: see :mod:`anomaly_vae.series.clusters`. Their
    number is that of the calibration's rows.

    Args:
        data: The series.
        config: Parameters; window and stride are used.
        checkpoint, report, on_calibrated: As for :func:`anomaly_vae.training.pipeline.train_table`.

    Raises:
        InvalidInput: The series are too short for windows of this length.
        ConfigError: The windows have too many cells.
        GateFailed: The exported networks differ from the trained ones.
    """
    config = with_seed(config)
    length = window_length(data, config).length
    config = replace(config, window=length)
    _check_size(length, len(data.roles.channels))
    segments = data.panel.segments(length)
    places = all_windows(segments, length, config.stride)
    split = block_split(segments, places, length, int(config.random_state or 0))
    source = PanelWindows(segments, places, length)
    rows = read_if_small(source)
    split = _bounded(split, most_set_aside(rows))
    fitting = np.concatenate([split.train, split.held_out])
    known = rows[fitting] if isinstance(rows, np.ndarray) else typical(LazyRows(source, fitting))
    schema = plan_cells(data.shape(length, config.stride), known, _kinds(config, data.roles.channels))
    return train_rows(
        rows,
        schema,
        split,
        config,
        thin=thinning(places[split.calibration], length, config.tail_for(schema.kind)),
        checkpoint=checkpoint,
        report=report,
        on_calibrated=on_calibrated,
    )


def train_windows(
    rows: FloatArray,
    shape: SeriesShape,
    config: TrainConfig,
    *,
    report: Callable[[str, Progress], None] | None = None,
    on_calibrated: Callable[[int], None] | None = None,
) -> TrainedModel:
    """Train, export and calibrate a model on windows that do not depend on each other, such as recorded heartbeats.

    Args:
        rows: Windows as rows of cells, float64 (N, D).
        shape: Their shape.
        config: Parameters; the length of ``window`` is that of the shape.
        report, on_calibrated: As for :func:`anomaly_vae.training.pipeline.train_table`.

    Raises:
        InvalidInput: No channel varies, or there are too few windows.
        ConfigError: The windows have too many cells.
        GateFailed: The exported networks differ from the trained ones.
    """
    config = replace(with_seed(config), window=shape.length)
    _check_size(*shape.sizes)
    split = split_of(len(rows), int(config.random_state or 0))
    fitting = np.concatenate([split.train, split.held_out])
    schema = plan_cells(shape, rows[fitting], _kinds(config, shape.channels))
    return train_rows(rows, schema, split, config, report=report, on_calibrated=on_calibrated)


def window_length(data: TrainingPanel, config: TrainConfig) -> DefaultLength:
    """Return the steps of a window: those that the user set, or a length by the data's period."""
    if isinstance(config.window, int):
        return DefaultLength(config.window, None)
    return default_length(data.panel.segments(SEGMENTS_FOR))


def thinning(places: Windows, length: int, tail: Tail = "low") -> Thin:
    """Return the choice of calibration windows that count as independent; see :mod:`anomaly_vae.series.clusters`."""
    return lambda scores: independent(scores, places.segment, places.end, length, tail)


def _bounded(split: Split, most: int) -> Split:
    """Return the split with at most so many held-out and calibration windows, evenly spread."""
    held_out, calibration = (part[evenly(len(part), most)] for part in (split.held_out, split.calibration))
    return Split(train=split.train, held_out=held_out, calibration=calibration)


def _kinds(config: TrainConfig, channels: Sequence[str]) -> dict[str, Kind]:
    """Return the kinds of channels that the user set."""
    found = {name: kind for name, kind in config.columns.items() if name in channels}
    for name, kind in found.items():
        if not isinstance(kind, str) or kind in ("categorical", "datetime"):
            raise ConfigError(f"[columns] {name} = {kind!r}: channels of series are numbers")
    return cast("dict[str, Kind]", found)


def _check_size(length: int, channels: int) -> None:
    if length * channels > MOST_CELLS:
        raise ConfigError(
            f"window is {length} steps of {channels} channels, {length * channels:,} cells; expected at most "
            f"{MOST_CELLS:,}: use at most {MOST_CELLS // channels} steps, or leave channels out"
        )
