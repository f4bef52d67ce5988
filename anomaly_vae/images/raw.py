"""Images as plain numbers in a file: arrays of numpy.save, and idx files, the format of MNIST.

The file is read image by image and never mapped to memory: a mapped file that another program shortens would end this
process. Only arrays in Fortran order, which hold no image in one piece, are mapped.
"""

from __future__ import annotations

import contextlib
import gzip
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.columns.image_arrays import ValueRange, image_shape
from anomaly_vae.columns.image_layouts import CheckedLayout, Layout, channels_last, find_layout
from anomaly_vae.errors import InvalidInput
from anomaly_vae.images.base import ImageSource, Numbers, Read
from anomaly_vae.images.decoding import resize_pixels
from anomaly_vae.table.base import first_line
from anomaly_vae.table.sources.npy import npy_header

__all__ = ["RawImages", "idx_array", "is_idx_start", "npy_array"]

_IDX_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}

_GZIP = b"\x1f\x8b"

# Bytes that are read at once. Chosen, not measured: some images, and little memory.
_PART_BYTES = 2**22

# Bytes of one image, at most. Chosen, not measured: it bounds the memory that a wrong header can take.
_MOST_IMAGE_BYTES = 2**28

_DAMAGED_GZIP = (gzip.BadGzipFile, EOFError, zlib.error)


class RawArray(NamedTuple):
    """An array in a file.

    Attributes:
        path: The file.
        shape: Sizes of the axes; the first one counts images.
        kind: Type of the values.
        start: Bytes before the array.
        is_gzip: Whether the file is compressed.
        is_fortran: Whether the first axis changes fastest.
    """

    path: Path
    shape: tuple[int, ...]
    kind: np.dtype[Any]
    start: int
    is_gzip: bool = False
    is_fortran: bool = False


def npy_array(path: Path, where: str) -> RawArray:
    """Read the header of a file of numpy.save.

    Raises:
        InvalidInput: It is damaged or cut off, or holds no numbers.
    """
    header = npy_header(path, where)
    if header.kind.kind not in "buif":
        raise InvalidInput(f"{where}: holds values of type {header.kind}, expected numbers")
    return RawArray(path, header.shape, header.kind, header.start, is_fortran=header.is_fortran)


def idx_array(path: Path, where: str) -> RawArray:
    """Read the header of an idx file, which may be compressed by gzip. See http://yann.lecun.com/exdb/mnist.

    Raises:
        InvalidInput: It is damaged or not exactly as long as its header says.
    """
    with _reading(where), path.open("rb") as file:
        is_gzip = file.read(2) == _GZIP
        file.seek(0)
        stream = gzip.GzipFile(fileobj=file) if is_gzip else file
        magic = stream.read(4)
        if not is_idx_start(magic):
            raise InvalidInput(f"{where}: is no idx file: it starts with {magic!r}")
        sizes = stream.read(4 * magic[3])
        if len(sizes) < 4 * magic[3]:
            raise InvalidInput(f"{where}: is cut off within its header")
        size = path.stat().st_size
    shape, kind = tuple(np.frombuffer(sizes, ">u4").tolist()), np.dtype(_IDX_TYPES[magic[2]])
    start = 4 + 4 * len(shape)
    expected = start + math.prod(shape) * kind.itemsize
    if not is_gzip and size != expected:
        raise InvalidInput(f"{where}: has {size} bytes, expected {expected} for shape {shape}; copy the file again")
    if len(shape) < 3:
        raise InvalidInput(f"{where}: holds an array of shape {shape}, such as labels, expected images (N, H, W)")
    return RawArray(path, shape, kind, start, is_gzip)


def is_idx_start(start: bytes) -> bool:
    """Return whether the first bytes are those of an idx file."""
    return len(start) >= 4 and start[:2] == b"\0\0" and start[2] in _IDX_TYPES and start[3] > 0


class RawImages(ImageSource):
    """The images of an array in a file. See :class:`~anomaly_vae.images.base.ImageSource`."""

    def __init__(self, array: RawArray, where: str, layout: Layout, resize: tuple[int, int] | None) -> None:
        """Find the order of the axes, and read all values once if their range is open.

        Raises:
            InvalidInput: The order is open, the array is empty, or an image is too large.
        """
        super().__init__()
        self.where, self.has_cheap_rows = where, not array.is_gzip
        self._array, self._resize = array, resize
        self._layout: CheckedLayout = find_layout(array.shape, where, layout)
        self._item = array.shape[1:]
        self._item_bytes = math.prod(self._item) * array.kind.itemsize
        if 0 in array.shape:
            raise InvalidInput(f"{where}: holds no images: its shape is {array.shape}")
        if self._item_bytes > _MOST_IMAGE_BYTES:
            raise InvalidInput(f"{where}: has images of {self._item_bytes} bytes, expected at most {_MOST_IMAGE_BYTES}")
        sizes = channels_last(np.empty((0, *self._item), np.uint8), self._layout).shape[1:]
        sizes = sizes if resize is None else (*resize, sizes[2])
        image_shape(sizes, where)  # before all values are read
        self.names = Numbers(array.shape[0])
        values = self._values()
        self.shape = image_shape(sizes, where, values, resized=resize is not None)
        whole = self.shape.depth == "uint8" and (values is None or not values.has_missing)
        self.dtype = np.dtype(np.uint8 if whole else np.float64)

    def _values(self) -> ValueRange | None:
        """Return the range of the values; None for uint8 and bool, whose range is known."""
        if self._array.kind in (np.uint8, np.bool_):
            return None
        values = ValueRange()
        for part in self._parts():
            values.add(part)
        if values.is_empty:
            raise InvalidInput(f"{self.where}: all values are missing or infinite")
        return values

    def _read_all(self) -> Iterator[Read]:
        return (self._image(item) for part in self._parts() for item in part)

    def _read_some(self, numbers: Sequence[int]) -> Iterable[Read]:
        if self._array.is_gzip:
            wanted = set(numbers)
            items = (item for part in self._parts() for item in part)
            yield from (self._image(item) for number, item in enumerate(items) if number in wanted)
        elif self._array.is_fortran:
            mapped = self._mapped()
            yield from (self._image(np.array(mapped[number])) for number in numbers)
        else:
            with _reading(self.where), self._array.path.open("rb") as file:
                for number in numbers:
                    file.seek(self._array.start + number * self._item_bytes)
                    yield self._image(self._next(file, 1, number)[0])

    def _image(self, item: NDArray[Any]) -> Read:
        """Return one image [H, W, C] in the type of the source."""
        if item.dtype == np.bool_:
            item = item * np.uint8(255)
        image = channels_last(item[None], self._layout)[0]
        image = image.astype(np.uint8 if self.dtype == np.uint8 else np.float64)
        return image if self._resize is None else resize_pixels(image, self._resize)

    def _parts(self) -> Iterator[NDArray[Any]]:
        """Yield all images in the layout of the file, some at a time."""
        count, total = max(1, _PART_BYTES // max(self._item_bytes, 1)), len(self)
        starts = range(0, total, count)
        if self._array.is_fortran:
            yield from (np.array(self._mapped()[start : start + count]) for start in starts)
            return
        with _reading(self.where), self._array.path.open("rb") as raw:
            file = gzip.GzipFile(fileobj=raw) if self._array.is_gzip else raw
            self._skip(file)
            for start in starts:
                yield self._next(file, min(count, total - start), start)
            if self._array.is_gzip and file.read(1):
                raise InvalidInput(
                    f"{self.where}: has more bytes than shape {self._array.shape} needs; copy the file again"
                )

    def _skip(self, file: BinaryIO | gzip.GzipFile) -> None:
        if self._array.is_gzip:
            file.read(self._array.start)
        else:
            file.seek(self._array.start)

    def _next(self, file: BinaryIO | gzip.GzipFile, count: int, start: int) -> NDArray[Any]:
        data = file.read(count * self._item_bytes)
        if len(data) < count * self._item_bytes:
            number = start + len(data) // self._item_bytes
            raise InvalidInput(f"{self.where}: is cut off in image {number} of {len(self)}; copy the file again")
        return np.frombuffer(data, self._array.kind).reshape(count, *self._item)

    def _mapped(self) -> NDArray[Any]:
        """Map the file anew, so that the pages of the last part are let go."""
        with _reading(self.where):
            where = self._array
            return np.memmap(where.path, where.kind, "r", where.start, where.shape, "F")


@contextlib.contextmanager
def _reading(where: str) -> Iterator[None]:
    """Turn the errors of files and of gzip into InvalidInput."""
    try:
        yield
    except _DAMAGED_GZIP as error:  # BadGzipFile is an OSError too
        raise InvalidInput(
            f"{where}: the gzip data are cut off or damaged ({first_line(error)}); copy the file again"
        ) from error
    except OSError as error:
        raise InvalidInput(f"{where}: cannot be read: {error.strerror or error}") from error
