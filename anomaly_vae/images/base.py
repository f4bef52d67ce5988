"""What all sources of images give: batches in order, rows by number, and the images that cannot be read."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anomaly_vae.arrays import FloatArray, row_numbers
from anomaly_vae.caller import warn_caller
from anomaly_vae.columns.shapes import ImageShape
from anomaly_vae.errors import InvalidInput

__all__ = ["BATCH_IMAGES", "BadImage", "ImageBatch", "ImageSource", "Numbers", "Problem", "Read"]

# Images of a batch. Chosen, not measured: the largest images of a model then have 32 MiB as float64.
BATCH_IMAGES = 256


class BadImage(Exception):
    """One image cannot be read; the others can. The text is the reason."""


Read = NDArray[Any] | BadImage


class Problem(NamedTuple):
    """An image that cannot be read.

    Attributes:
        number: Its number, counted from 0.
        name: Its name.
        text: The reason.
    """

    number: int
    name: str
    text: str


class ImageBatch(NamedTuple):
    """Some consecutive images.

    Attributes:
        images: (n, H, W, C), of the type ``ImageSource.dtype``; zeros where an image cannot be read.
        faults: One entry per image: the reason that it cannot be read, or None.
        start: The number of the first image.
    """

    images: NDArray[Any]
    faults: list[str | None]
    start: int

    def rows(self) -> FloatArray:
        """Return the rows of a model, float64 (n, D), NaN in those of images that cannot be read."""
        rows = self.images.reshape(len(self.images), -1).astype(np.float64)
        rows[[fault is not None for fault in self.faults]] = np.nan
        return rows


class Numbers(Sequence[str]):
    """Names for images without names: "0", "1" and so on."""

    def __init__(self, length: int) -> None:
        self._numbers = range(length)

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, key: int) -> str: ...
    @overload
    def __getitem__(self, key: slice) -> list[str]: ...
    def __getitem__(self, key: int | slice) -> str | list[str]:
        if isinstance(key, slice):
            return [str(number) for number in self._numbers[key]]
        return str(self._numbers[key])


class ImageSource(abc.ABC):
    """Images of one size, read from disk as they are needed.

    Attributes:
        where: Name in messages.
        shape: What each image is.
        dtype: Type of the values: uint8, or float64 if they are no whole numbers or some are missing.
        names: The name of each image: that of its file relative to the folder, or its number.
        notes: One line each about what was ignored or read in a special way.
        has_cheap_rows: Whether :meth:`rows` reads only the images that it returns.
    """

    where: str
    shape: ImageShape
    dtype: np.dtype[Any] = np.dtype(np.uint8)
    names: Sequence[str]
    notes: tuple[str, ...] = ()
    has_cheap_rows: bool = True

    def __init__(self) -> None:
        self._problems: dict[int, str] = {}
        self._has_warned = False

    def __len__(self) -> int:
        return len(self.names)

    @property
    def problems(self) -> list[Problem]:
        """The images that could not be read so far, in order. After all batches these are all."""
        return [Problem(number, self.names[number], text) for number, text in sorted(self._problems.items())]

    @property
    def problem_summary(self) -> str | None:
        """One line about the images that could not be read so far; None without any."""
        if not self._problems:
            return None
        first, count = self.problems[0], f"{len(self._problems)} of {len(self)}"
        return f"{self.where}: {count} images cannot be read, such as {first.name}: {first.text}"

    def batches(self, size: int = BATCH_IMAGES) -> Iterator[ImageBatch]:
        """Read all images in order, in batches of this size; may be called again.

        A warning at the end says how many could not be read.

        Raises:
            InvalidInput: The file is damaged; an image that cannot be read is a fault of its batch instead.
        """
        reads, start = self._read_all(), 0
        while start < len(self):
            batch = self._batch(reads, start, min(size, len(self) - start))
            yield batch
            start += len(batch.images)
        self._finish(reads)
        if self.problem_summary and not self._has_warned:
            self._has_warned = True
            warn_caller(self.problem_summary)

    def rows(self, indices: ArrayLike) -> FloatArray:
        """Return images by their numbers as rows of a model, float64 (n, D); NaN where an image cannot be read.

        Raises:
            IndexError: There is no such image.
            InvalidInput: The file is damaged.
        """
        numbers = row_numbers(indices, len(self))
        rows = np.full((len(numbers), self.shape.num_cells), np.nan)
        unique, inverse = np.unique(numbers, return_inverse=True)
        places = np.argsort(inverse, kind="stable")
        ends = np.searchsorted(inverse[places], np.arange(len(unique)), side="right")
        for i, read in enumerate(self._read_some(unique.tolist())):
            checked = self._checked(read, int(unique[i]))
            if not isinstance(checked, BadImage):
                rows[places[ends[i - 1] if i else 0 : ends[i]]] = checked.reshape(-1)
        return rows

    def sample(self, num_images: int) -> FloatArray:
        """Return at most so many rows (n, D), evenly spread over all images, without those that cannot be read."""
        count = min(num_images, len(self))
        numbers = (np.arange(count) * len(self)) // max(count, 1)
        rows = self.rows(numbers)
        return rows[[int(number) not in self._problems for number in numbers]]

    @abc.abstractmethod
    def _read_all(self) -> Iterator[Read]:
        """Yield all images [H, W, C] in order."""

    @abc.abstractmethod
    def _read_some(self, numbers: Sequence[int]) -> Iterable[Read]:
        """Yield the images of these numbers, which increase."""

    def _finish(self, reads: Iterator[Read]) -> None:
        """Check the end of the file after the last image."""
        next(reads, None)

    def _batch(self, reads: Iterator[Read], start: int, size: int) -> ImageBatch:
        images = np.zeros((size, *self.shape.sizes), self.dtype)
        faults: list[str | None] = [None] * size
        for i in range(size):
            read = next(reads, None)
            if read is None:
                raise InvalidInput(f"{self.where}: ends after {start + i} of {len(self)} images; the file has changed")
            checked = self._checked(read, start + i)
            if isinstance(checked, BadImage):
                faults[i] = str(checked)
            else:
                images[i] = checked
        return ImageBatch(images, faults, start)

    def _checked(self, read: Read, index: int) -> Read:
        """Return the image, or the reason that it cannot be used, which is kept."""
        if not isinstance(read, BadImage):
            if read.shape != self.shape.sizes:
                read = BadImage(f"has the shape {read.shape}, expected {self.shape.sizes}; the file has changed")
            elif read.dtype.kind == "f" and np.isinf(read).any():
                read = BadImage("has an infinite value")
        if isinstance(read, BadImage):
            self._problems[index] = str(read)
        return read
