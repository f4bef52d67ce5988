"""Open images by what a path holds, and tell images from tables."""

from __future__ import annotations

import math
import stat
from pathlib import Path

from anomaly_vae.columns.image_layouts import Layout
from anomaly_vae.errors import ConfigError, InvalidInput
from anomaly_vae.images.base import ImageSource
from anomaly_vae.images.decoding import Decoder, check_resize, is_image_start
from anomaly_vae.images.encoded import ColumnImages, image_columns, is_columnar_start
from anomaly_vae.images.files import FileImages, Found, find_files, find_matches, has_mostly_images, tables_of
from anomaly_vae.images.raw import RawImages, idx_array, is_idx_start, npy_array
from anomaly_vae.table.sources.discovery import is_pattern
from anomaly_vae.table.sources.files import missing

__all__ = ["is_image_input", "open_images"]

_NPY = b"\x93NUMPY"
_GZIP = b"\x1f\x8b"

# First bytes of a file that show its format.
_START_BYTES = 16


def open_images(
    path: str | Path,
    *,
    layout: Layout = "auto",
    resize: tuple[int, int] | str | None = None,
    channels: int | None = None,
    column: str | None = None,
) -> ImageSource:
    """Open images: a folder, a pattern or a file of PNG and JPEG, .npy, idx, or a column of Parquet or Arrow files.

    Args:
        path: Where they are.
        layout: The order of the axes of an array: "NHW", "NHWC" or "NCHW"; "auto" finds it.
        resize: Height and width in pixels to resize images to, or a text such as "64x48"; None keeps their size, which
            must then be one for all.
        channels: Channels of decoded images: 1 grey, 3 colours, 4 with transparency; None takes those of the files. An
            array must have this number already.
        column: The column of images; None finds it.

    Returns:
        The images; their values are read later.

    Raises:
        ConfigError: An argument has a value that is not possible, or Pillow is missing.
        InvalidInput: There are no such images, they have several sizes, or the file is damaged.
    """
    where, size = str(path), check_resize(resize)
    found, where = _files(path, where)
    file = _expanded(path)
    if found is not None:
        if tables := tables_of(found):
            return ColumnImages(tables, where, column, Decoder(size, channels), is_resized=size is not None)
        return FileImages(found, where, Decoder(size, channels), is_resized=size is not None)
    start = _start(file, where)
    if is_image_start(start):
        one = Found(file.parent, [file.name], [])
        return FileImages(one, where, Decoder(size, channels), is_resized=size is not None)
    if is_columnar_start(start):
        return ColumnImages([file], where, column, Decoder(size, channels), is_resized=size is not None)
    if start.startswith(_NPY):
        source = RawImages(npy_array(file, where), where, layout, size)
    elif start.startswith(_GZIP) or is_idx_start(start):
        source = RawImages(idx_array(file, where), where, layout, size)
    else:
        raise InvalidInput(
            f"{where}: holds no images that can be read; expected a folder of PNG or JPEG files, a .npy array, an idx "
            "file, or a Parquet file with a column of images"
        )
    if channels not in (None, source.shape.channels):
        raise InvalidInput(f"{where}: has {source.shape.channels} channels, channels={channels} was asked for")
    return source


def is_image_input(path: str | Path) -> bool:
    """Return whether a path holds images and not a table, from names and headers alone.

    Images are: a folder or a pattern whose files are mostly PNG or JPEG, one such file, a .npy array with three axes or
    more, an idx file of images, and Parquet or Arrow with a column of images. A path that cannot be read is none.
    """
    where = str(path)
    try:
        found, where = _files(path, where)
        file = _expanded(path)
        if found is not None:
            tables = tables_of(found)
            return bool(image_columns(tables[0], where)) if tables else has_mostly_images(found)
        start = _start(file, where)
        if is_columnar_start(start):
            return bool(image_columns(file, where))
        if start.startswith(_NPY):
            return len(npy_array(file, where).shape) >= 3
        if start.startswith(_GZIP) or is_idx_start(start):
            return math.prod(idx_array(file, where).shape) > 0
    except (InvalidInput, ConfigError):
        return False
    return is_image_start(start)


def _files(path: str | Path, where: str) -> tuple[Found | None, str]:
    """Return the files of a folder or a pattern, None for one file, and the name in messages."""
    if is_pattern(where):
        return find_matches(where, where), where
    file = _expanded(path)
    if _kind(file, where) != "folder":
        return None, where
    where = where if where.endswith("/") else f"{where}/"
    return find_files(file, where), where


def _expanded(path: str | Path) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InvalidInput(f"{path}: no such file: {error}") from error


def _kind(path: Path, where: str) -> str:
    """Return "folder" or "file". Pipes and devices are refused: reading one could wait for ever."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise missing(path, where) from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise InvalidInput(f"{where}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if stat.S_ISDIR(mode):
        return "folder"
    if not stat.S_ISREG(mode):
        raise InvalidInput(f"{where}: is neither a file nor a folder; images cannot be read from a pipe")
    return "file"


def _start(path: Path, where: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_START_BYTES)
    except OSError as error:
        raise InvalidInput(f"{where}: cannot be read: {error.strerror or error}") from error
