"""Images of any number of channels and range of values as colours."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.errors import InvalidInput

__all__ = ["four_axes", "limits_of", "to_colours"]

# The colour of missing pixels: no grey value, and rare in pictures.
MISSING = np.array([0.80, 0.47, 0.65])

_WHITE = 255.0


def four_axes(name: str, images: Any) -> NDArray[Any]:
    """Return images as (N, height, width, channels).

    Raises:
        InvalidInput: They have another number of axes, or are no numbers.
    """
    array = np.asarray(images)
    if array.dtype.kind not in "buif" or array.ndim not in (3, 4) or 0 in array.shape[1:]:
        found = f"{array.dtype} of shape {array.shape}"
        raise InvalidInput(f"{name}: {found}, expected numbers (N, height, width[, channels])", field=name)
    return array[..., None] if array.ndim == 3 else array


def limits_of(images: NDArray[Any]) -> tuple[float, float]:
    """Return the values that are black and white: 0 and 255 for bytes, 0 and 1, -1 and 1, or what is found."""
    if images.dtype == np.uint8:
        return 0.0, _WHITE
    finite = images[np.isfinite(images)] if images.dtype.kind == "f" else images
    if not finite.size:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    for least, most in ((0.0, 1.0), (-1.0, 1.0)):
        if low >= least and high <= most:
            return least, most
    is_whole = bool((finite == np.rint(finite)).all())
    if is_whole and low >= 0 and 16 < high <= _WHITE:
        return 0.0, _WHITE
    return low, max(high, low + 1e-12)


def to_colours(images: NDArray[Any], low: float, high: float) -> FloatArray:
    """Return images as red, green and blue from 0 to 1, shape (N, height, width, 3).

    Args:
        images: Shape (N, height, width, channels). One channel is grey, three are colours, and a fourth one is ignored;
            of any other number the mean is grey. NaN is missing: purple.
        low, high: The values of black and of white.
    """
    values = np.clip((images.astype(np.float64) - low) / (high - low), 0.0, 1.0)
    missing = np.isnan(values).any(axis=-1)
    if values.shape[-1] in (3, 4):
        colours = values[..., :3]
    else:
        colours = np.repeat(values.mean(axis=-1, keepdims=True), 3, axis=-1)
    colours[missing] = MISSING
    return np.asarray(colours)
