"""Images that a model is assessed on, for ``evaluate`` and ``compare``."""

from __future__ import annotations

import numpy as np

from anomaly_vae.arrays import GrowingRows
from anomaly_vae.cli.assessed_rows import RowsOfTable
from anomaly_vae.cli.console import rows_progress
from anomaly_vae.errors import InvalidInput
from anomaly_vae.images import ImageSource

__all__ = ["labelled_images", "read_images"]


def read_images(source: ImageSource, *, quiet: bool) -> RowsOfTable:
    """Read all images into memory, as rows of a model. Those that cannot be read are left out with a warning.

    Args:
        source: The images, of the size that the model takes.
        quiet: Show no progress bar.

    Raises:
        InvalidInput: No image can be read.
    """
    rows, numbers = GrowingRows(source.shape.num_cells), [np.empty(0, dtype=np.int64)]
    with rows_progress("reading", len(source), quiet=quiet, what="images") as on_images:
        for batch in source.batches():
            usable = np.array([fault is None for fault in batch.faults], dtype=bool)
            rows.append(batch.rows()[usable])
            numbers.append(batch.start + 1 + np.flatnonzero(usable))
            if on_images:
                on_images(len(usable))
    found = rows.finished()
    if not len(found):
        raise InvalidInput(f"{source.where}: no image can be used")
    labels = np.zeros(len(found), dtype=bool)
    places = np.concatenate(numbers)
    names = tuple(source.names[i - 1] for i in places.tolist())
    return RowsOfTable(places, found, labels, {}, len(source) - len(found), names)


def labelled_images(normal: ImageSource, anomalies: ImageSource, *, quiet: bool) -> RowsOfTable:
    """Read normal images and then anomalous ones, with their labels.

    Args:
        normal, anomalies, quiet: As for :func:`read_images`.

    Raises:
        InvalidInput: No image of a source can be read.
    """
    first, second = (read_images(source, quiet=quiet) for source in (normal, anomalies))
    return RowsOfTable(
        np.concatenate([first.numbers, second.numbers + len(normal)]),
        np.concatenate([first.rows, second.rows]),
        np.concatenate([first.labels, ~second.labels]),
        {},
        first.left_out + second.left_out,
    )
