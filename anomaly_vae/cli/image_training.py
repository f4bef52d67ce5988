"""Train on images, for ``anomaly-vae train``."""

from __future__ import annotations

from typing import Any, NamedTuple

import click
import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.assessment.ranking import DetectionQuality
from anomaly_vae.cli.reporting import printable
from anomaly_vae.cli.series_input import read_series_table
from anomaly_vae.cli.table_training import quality_of_rows
from anomaly_vae.cli.training_input import Selection
from anomaly_vae.columns.findings import Finding
from anomaly_vae.errors import ConfigError, InvalidInput
from anomaly_vae.images import ImageSource, Layout, is_image_input, open_images
from anomaly_vae.images.encoded import ColumnImages
from anomaly_vae.table import open_table
from anomaly_vae.training.checkpoint import Checkpoint
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.image_rows import read_images
from anomaly_vae.training.images import train_images
from anomaly_vae.training.pipeline import TrainedModel
from anomaly_vae.training.progress_bar import ProgressCallbacks

__all__ = ["ImageJob", "ImageOptions", "holds_images"]

# Anomalous images that are compared with the calibration ones, at most. Chosen, not measured: it bounds the time.
_MOST_ANOMALOUS = 5000


class ImageOptions(NamedTuple):
    """How to read images; the fields are arguments of :func:`anomaly_vae.images.open_images`."""

    layout: Layout = "auto"
    resize: tuple[int, int] | None = None
    channels: int | None = None
    column: str | None = None

    @property
    def given(self) -> str | None:
        """The first of the options that the user gave; None without any."""
        names = {
            "--layout": self.layout != "auto",
            "--resize": self.resize,
            "--channels": self.channels,
            "--image-column": self.column,
        }
        return next((name for name, value in names.items() if value), None)


def holds_images(input_: str, settings: TrainConfig, images: ImageOptions) -> bool:
    """Return whether INPUT holds images and no table; raise ConfigError if options do not fit it."""
    found = is_image_input(input_)
    if found and settings.window is not None:
        raise ConfigError(
            f"INPUT {input_} holds images; --window (and the architecture conv1d) is for time series in a table"
        )
    if images.given and not found:
        raise ConfigError(f"{images.given} is for images, and INPUT {input_} holds none that can be read")
    return found


class ImageJob:
    """Images: see :class:`~anomaly_vae.cli.training_job.TrainingJob`."""

    def __init__(
        self, input_: str, settings: TrainConfig, images: ImageOptions, selection: Selection, *, quiet: bool
    ) -> None:
        """Read the images, or find out how to read them while the model trains.

        Args:
            input_: Where they are.
            settings: Parameters of the training.
            images: How to read them.
            selection: Its label is a column of 0 and 1 beside the images in Parquet or Arrow; images with another
                label than 0 are not trained on.
            quiet: Print warnings only.
        """
        if selection.columns or selection.exclude:
            raise ConfigError(f"--columns and --exclude are for tables, and INPUT {input_} holds images")
        self._settings, label = settings, selection.label
        self._source = open_images(input_, **images._asdict())
        for note in self._source.notes:
            if not quiet:
                click.echo(f"anomaly-vae: {printable(note)}", err=True)
        is_bad = np.zeros(len(self._source), dtype=bool)
        is_bad[[problem.number for problem in self._source.problems]] = True
        labels = np.zeros(len(is_bad)) if label is None else _labels(self._source, label)
        self._anomalous = np.flatnonzero((labels == 1.0) & ~is_bad)
        normal = np.flatnonzero((labels == 0.0) & ~is_bad)
        if not len(normal):
            raise InvalidInput(f"{self._source.where}: holds no images to train on")
        self._normal = normal
        self.num_anomalous, self.findings = len(self._anomalous), list[Finding]()

    def train(self, checkpoint: Checkpoint, bars: ProgressCallbacks) -> TrainedModel:
        """Train, export and calibrate a model."""
        with read_images(self._source, self._normal) as rows:
            return train_images(
                rows,
                self._source.shape,
                self._settings,
                checkpoint=checkpoint,
                report=bars.report,
                on_calibrated=bars.on_calibrated,
            )

    def quality(self, model: TrainedModel) -> DetectionQuality | None:
        """Compare the images marked as anomalies with those that calibrated the model; None if there are none."""
        if not self.num_anomalous:
            return None
        rows = self._source.rows(self._anomalous[:_MOST_ANOMALOUS])
        return quality_of_rows(model, rows[~np.isnan(rows).all(axis=1)])

    def lines(self, model: TrainedModel) -> list[str]:  # noqa: ARG002 (of all jobs)
        """Return no further lines."""
        return []

    def facts(self, model: TrainedModel) -> dict[str, Any]:  # noqa: ARG002 (of all jobs)
        """Return what the images are, and how many could not be read."""
        shape = self._source.shape
        return {
            "image": {"height": shape.height, "width": shape.width, "channels": shape.channels, "depth": shape.depth},
            "notes": list(self._source.notes),
            "unreadable": len(self._source.problems),
        }


def _labels(source: ImageSource, label: str) -> FloatArray:
    if not isinstance(source, ColumnImages):
        raise ConfigError(
            f"--label {label}: {source.where} has no columns; only images in Parquet or Arrow files have labels. Keep "
            "anomalous images out of INPUT, and score them apart"
        )
    found = []
    for path in source.paths:
        table = open_table(str(path)).source
        if label not in table.names:
            raise InvalidInput(f"--label {label}: {path} has no such column; it has {', '.join(table.names[:10])}")
        labels = read_series_table(table, [], label).labels
        found.append(np.empty(0) if labels is None else labels)
    return np.concatenate(found)
