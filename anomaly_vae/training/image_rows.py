"""Images as training rows: in memory if they are small, otherwise read from their files batch by batch.

Compressed arrays and columns of tables cannot be read out of order: if they are large, they are decoded to a file.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.caller import warn_caller
from anomaly_vae.training.row_source import RowSource, is_small

if TYPE_CHECKING:
    from anomaly_vae.images import ImageSource

__all__ = ["ImageRows", "SpooledRows", "read_images"]


class ImageRows:
    """Chosen images of a source: a :class:`~anomaly_vae.training.row_source.RowSource`."""

    def __init__(self, source: ImageSource, numbers: NDArray[np.intp]) -> None:
        """Use the images with these numbers."""
        self._source, self._numbers, self.num_cells = source, numbers, source.shape.num_cells

    def __len__(self) -> int:
        return len(self._numbers)

    def take(self, numbers: NDArray[np.intp]) -> FloatArray:
        """Read images, float64 (n, D); NaN where one cannot be read."""
        return self._source.rows(self._numbers[numbers])


class SpooledRows:
    """Images in a file of equal records: a :class:`~anomaly_vae.training.row_source.RowSource`."""

    def __init__(self, file: IO[bytes], dtype: np.dtype[Any], num_cells: int) -> None:
        """Use an empty file, which :meth:`append` fills."""
        self._file, self._dtype, self.num_cells = file, dtype, num_cells
        self._num_rows, self._lock = 0, threading.Lock()

    def __len__(self) -> int:
        return self._num_rows

    def append(self, images: NDArray[Any]) -> None:
        """Append images (n, H, W, C)."""
        self._file.write(np.ascontiguousarray(images, self._dtype).tobytes())
        self._num_rows += len(images)

    def take(self, numbers: NDArray[np.intp]) -> FloatArray:
        """Read images, float64 (n, D)."""
        size = self.num_cells * self._dtype.itemsize
        rows = np.empty((len(numbers), self.num_cells))
        with self._lock:
            for i in np.argsort(numbers).tolist():
                self._file.seek(int(numbers[i]) * size)
                rows[i] = np.frombuffer(self._file.read(size), self._dtype)
        return rows


@contextlib.contextmanager
def read_images(
    source: ImageSource, numbers: NDArray[np.intp] | None = None, on_rows: Callable[[int], None] | None = None
) -> Iterator[FloatArray | RowSource]:
    """Yield images as rows: an array if it has at most 1 GiB, or a source that reads from the files while it is open.

    Images that cannot be read are left out; a warning counts them.

    Args:
        source: The images.
        numbers: Which of them, increasing; None for all.
        on_rows: Called with the number of images just read.
    """
    chosen = ImageRows(source, np.arange(len(source)) if numbers is None else numbers)
    if is_small(chosen):
        rows, num_rows = np.empty((len(chosen), chosen.num_cells)), 0
        for images in _usable(source, numbers, on_rows):
            rows[num_rows : num_rows + len(images)] = images.reshape(len(images), -1)
            num_rows += len(images)
        yield rows[:num_rows]
    elif source.has_cheap_rows:
        before = len(source.problems)
        _warn(source)
        yield chosen
        if len(source.problems) > before:
            _warn(source)
    else:
        with tempfile.TemporaryFile() as file:
            spooled = SpooledRows(file, source.dtype, chosen.num_cells)
            for images in _usable(source, numbers, on_rows):
                spooled.append(images)
            file.flush()
            yield spooled


def _usable(
    source: ImageSource, numbers: NDArray[np.intp] | None, on_rows: Callable[[int], None] | None
) -> Iterator[NDArray[Any]]:
    """Yield the chosen images that can be read, (n, H, W, C), in order."""
    is_chosen = np.ones(len(source), dtype=bool)
    if numbers is not None:
        is_chosen[:] = False
        is_chosen[numbers] = True
    for batch in source.batches():
        usable = is_chosen[batch.start : batch.start + len(batch.images)]
        usable &= np.array([fault is None for fault in batch.faults], dtype=bool)
        yield batch.images if usable.all() else batch.images[usable]
        if on_rows is not None:
            on_rows(len(batch.images))


def _warn(source: ImageSource) -> None:
    if source.problem_summary is not None:
        warn_caller(source.problem_summary)
