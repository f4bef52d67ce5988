"""Small images as PNG inside the page."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.pages.texts import clean

__all__ = ["picture", "png"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"

# Types of colour of the format, by channels: grey, colours, colours with opacity.
_TYPES = {1: 0, 3: 2, 4: 6}

# The grey of a missing pixel, and the largest value of a byte.
_MISSING, _WHITE = 128, 255

# Pixels of a side in the page, at most; larger images are thinned. Chosen, not measured: it bounds the size of a page.
_MOST_PIXELS = 96


def picture(values: FloatArray, low: float, high: float, text: str) -> Markup:
    """Return an image as an element of HTML.

    Args:
        values: Shape (height, width, channels); NaN is a missing pixel.
        low, high: The values of black and white.
        text: What it shows, read aloud.
    """
    thin = max(1, -(-max(values.shape[:2]) // _MOST_PIXELS))
    data = base64.b64encode(png(_as_bytes(values[::thin, ::thin], low, high))).decode("ascii")
    element = Markup('<img class="pixels" src="data:image/png;base64,{}" alt="{}" title="{}">')
    return element.format(data, clean(text), clean(text))


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return an image as a PNG file.

    Args:
        pixels: Shape (height, width, channels), 1, 3 or 4 channels.

    References:
        Portable Network Graphics (Third Edition), https://www.w3.org/TR/png-3/, sections 5 and 11.
    """
    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, _TYPES[channels], 0, 0, 0)
    lines = np.zeros((height, 1 + width * channels), dtype=np.uint8)  # each line begins with its filter: none
    lines[:, 1:] = pixels.reshape(height, width * channels)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b"")]
    return _SIGNATURE + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _as_bytes(values: FloatArray, low: float, high: float) -> NDArray[np.uint8]:
    """Return the image in bytes; of other numbers of channels the first one."""
    shown = values if values.shape[-1] in _TYPES else values[..., :1]
    with np.errstate(invalid="ignore"):
        scaled = (shown - low) / (high - low if high > low else 1.0) * _WHITE
    scaled = np.where(np.isnan(scaled), float(_MISSING), np.nan_to_num(scaled, posinf=_WHITE, neginf=0.0))
    return np.clip(np.rint(scaled), 0, _WHITE).astype(np.uint8)
