"""Train a model on images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.cells import plan_cells
from anomaly_vae.columns.shapes import ImageShape
from anomaly_vae.columns.split import split_of
from anomaly_vae.training.checkpoint import Checkpoint
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.loop import Progress
from anomaly_vae.training.pipeline import TrainedModel, train_rows, with_seed
from anomaly_vae.training.row_source import LazyRows, RowSource, most_set_aside, typical

__all__ = ["train_images"]


def train_images(
    rows: FloatArray | RowSource,
    shape: ImageShape,
    config: TrainConfig,
    *,
    checkpoint: Checkpoint | None = None,
    report: Callable[[str, Progress], None] | None = None,
    on_calibrated: Callable[[int], None] | None = None,
) -> TrainedModel:
    """Train, export and calibrate a model on normal images.

    Args:
        rows: Images as rows of cells, float64 (N, D), or a source that reads them while the model trains.
        shape: Their shape.
        config: Parameters.
        checkpoint, report, on_calibrated: As for :func:`anomaly_vae.training.pipeline.train_table`.

    Raises:
        InvalidInput: All pixels have one value, or there are too few images.
        GateFailed: The exported networks differ from the trained ones.
    """
    config = with_seed(config)
    split = split_of(len(rows), int(config.random_state or 0), most_set_aside(rows))
    fitting = np.concatenate([split.train, split.held_out])
    known = rows[fitting] if isinstance(rows, np.ndarray) else typical(LazyRows(rows, fitting))
    schema = plan_cells(shape, known)
    return train_rows(rows, schema, split, config, checkpoint=checkpoint, report=report, on_calibrated=on_calibrated)
