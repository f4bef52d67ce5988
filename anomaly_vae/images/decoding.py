"""Decode PNG and JPEG with Pillow, which is imported here and only when an image is read.

Bytes of strangers are decoded by these two decoders only. Transparency is dropped unless four channels are asked for,
so the colours are those that the file stores. 16-bit greys keep their values; Pillow reduces 16-bit colours to 8 bits.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.errors import ConfigError
from anomaly_vae.images.base import BadImage

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Decoder", "Look", "check_resize", "is_image_start", "resize_pixels"]

_FORMATS = ("PNG", "JPEG")
_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")

_GREY_MODES = frozenset({"1", "L", "LA", "La"})
_REAL_MODES = frozenset({"I", "F", "I;16", "I;16B", "I;16L", "I;16N"})
_ALPHA_MODES = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}

# The tag of EXIF that says how the camera was held, and its values that swap height and width.
_ORIENTATION = 0x0112
_SWAPPING = (5, 6, 7, 8)

# What makes an image of each orientation upright, (H, W, C) to (H', W', C).
_TURNS: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: x.transpose(1, 0, 2)[:, ::-1],
    7: lambda x: x.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda x: x.transpose(1, 0, 2)[::-1],
}

# The longest text of a decoder in a message, characters. Chosen, not measured.
_SHOWN_REASON = 120

_MISSING = "images need Pillow: pip install 'anomaly_vae[images]'"


class Look(NamedTuple):
    """What the header of an image says, after rotation and a change of size.

    Attributes:
        sizes: Height, width and channels.
        depth: "float" for 16-bit greys.
        has_alpha: Whether it has transparency that is dropped.
    """

    sizes: tuple[int, int, int]
    depth: Literal["uint8", "float"]
    has_alpha: bool


class Decoder:
    """Images of one size and number of channels, as far as that is asked for."""

    def __init__(self, resize: tuple[int, int] | None, channels: int | None) -> None:
        """Decode to height and width ``resize`` and to 1, 3 or 4 ``channels``; None leaves them.

        Raises:
            ConfigError: Pillow is missing, or there are no such channels.
        """
        if channels is not None and channels not in _MODES:
            raise ConfigError(f"channels is {channels}, expected 1 (grey), 3 (colours) or 4 (with transparency)")
        try:
            import PIL.Image
        except ImportError as error:
            raise ConfigError(f"{_MISSING} ({error})") from error
        self._pillow, self._resize, self._channels = PIL.Image, resize, channels

    def look(self, data: BinaryIO | bytes) -> Look:
        """Read the header of an image.

        Raises:
            BadImage: It cannot be read.
        """
        with self._opened(data) as image:
            width, height = image.size
            if _orientation(self._pillow, image) in _SWAPPING:
                width, height = height, width
            channels, is_real = self._channels_of(image)
            has_alpha = channels != 4 and (image.mode in _ALPHA_MODES or "transparency" in image.info)
            size = self._resize or (height, width)
            return Look((*size, channels), "float" if is_real else "uint8", has_alpha)

    def decode(self, data: BinaryIO | bytes) -> NDArray[Any]:
        """Return the pixels (H, W, C): uint8, or float64 for 16-bit greys.

        Raises:
            BadImage: It cannot be read.
        """
        with self._opened(data) as image:
            turn = _TURNS.get(_orientation(self._pillow, image))
            channels, is_real = self._channels_of(image)
            pixels = np.asarray(image if is_real else image.convert(_MODES[channels]))
            pixels = pixels.astype(np.float64 if is_real else np.uint8)
            pixels = pixels.reshape(*pixels.shape[:2], channels)
            if turn is not None:
                pixels = turn(pixels)
            return pixels if self._resize is None else resize_pixels(pixels, self._resize)

    def _channels_of(self, image: Image.Image) -> tuple[int, bool]:
        if image.mode in _REAL_MODES:
            return 1, True
        return self._channels or (1 if image.mode in _GREY_MODES else 3), False

    @contextmanager
    def _opened(self, data: BinaryIO | bytes) -> Iterator[Image.Image]:
        """Open an image; any error of a decoder is that of one bad image."""
        try:
            file = io.BytesIO(data) if isinstance(data, bytes) else data
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with self._pillow.open(file, formats=_FORMATS) as image:
                    limit = self._pillow.MAX_IMAGE_PIXELS
                    if limit is not None and image.width * image.height > limit:
                        raise BadImage(
                            f"has {image.width} x {image.height} pixels, expected at most {limit} in all "
                            "(PIL.Image.MAX_IMAGE_PIXELS): a small file could fill the memory"
                        )
                    yield image
        except BadImage:
            raise
        except Exception as error:  # for damaged bytes decoders raise what they like
            raise BadImage(f"is damaged: {_reason(error)}") from error


def is_image_start(start: bytes) -> bool:
    """Return whether the first bytes are those of PNG or JPEG."""
    return start.startswith(_STARTS)


def check_resize(resize: tuple[int, int] | str | None) -> tuple[int, int] | None:
    """Return height and width in pixels, from numbers or a text such as "64x48".

    Raises:
        ConfigError: They are not two whole numbers from 1 on.
    """
    if resize is None:
        return None
    parts = resize.lower().split("x") if isinstance(resize, str) else list(resize)
    sizes = [int(part) for part in parts if str(part).isascii() and str(part).strip().isdigit()]
    if len(parts) != 2 or len(sizes) != 2 or min(sizes) < 1 or max(sizes) > 2**14:
        raise ConfigError(f"resize is {resize!r}, expected HEIGHTxWIDTH in pixels, such as 64x48")
    return sizes[0], sizes[1]


def resize_pixels(pixels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Resize (H, W, C) to another height and width: linear, and without aliasing when it shrinks.

    Returns:
        uint8 for uint8, otherwise float64; a pixel is NaN if a missing one counts in it.

    Raises:
        ConfigError: Pillow is missing.
    """
    if pixels.shape[:2] == size:
        return pixels
    try:
        import PIL.Image
    except ImportError as error:
        raise ConfigError(f"{_MISSING} ({error})") from error
    height, width = size
    kind = np.uint8 if pixels.dtype == np.uint8 else np.float64
    planes = []
    for c in range(pixels.shape[2]):
        plane = np.ascontiguousarray(pixels[:, :, c], np.uint8 if kind is np.uint8 else np.float32)
        planes.append(PIL.Image.fromarray(plane).resize((width, height), PIL.Image.Resampling.BILINEAR))
    return np.stack([np.asarray(plane, kind) for plane in planes], axis=2)


def _orientation(pillow: Any, image: Image.Image) -> int:
    """Return how to turn the image, 1 if it is upright or does not say; ``getexif`` would decode a whole PNG."""
    try:
        exif = pillow.Exif()
        exif.load(image.info.get("exif", b""))
        return int(exif.get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - damaged notes of a camera leave the pixels good
        return 1


def _reason(error: Exception) -> str:
    if type(error).__name__ == "UnidentifiedImageError":  # its text is the address of an object
        return "it is neither PNG nor JPEG"
    text = (str(error).splitlines() or [""])[0] or type(error).__name__
    return "".join(c if c.isprintable() else " " for c in text)[:_SHOWN_REASON]
