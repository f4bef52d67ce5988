"""Arrays of images in Python as rows of a model: ranges of values, and what fits a model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.image_layouts import CheckedLayout, Layout, channels_last, find_layout
from anomaly_vae.columns.shapes import MOST_CELLS, ImageShape
from anomaly_vae.errors import InvalidInput

__all__ = [
    "ValueRange",
    "image_shape",
    "refuse_other_shape",
    "refuse_other_values",
    "shape_of_images",
    "to_image_rows",
]

# The most channels that ImageShape takes.
_MOST_CHANNELS = 64

_WHITE = 255.0

# Values that are compared at once. Chosen, not measured: their copies are small beside the images.
_PART_VALUES = 2**20


def image_shape(sizes: Sequence[int], where: str, values: ValueRange | None = None, **more: Any) -> ImageShape:
    """Return the record for images of these sizes [height, width, channels].

    Args:
        sizes: Height, width and channels.
        where: Name in messages.
        values: The values of all images; None for whole numbers from 0 to 255.
        more: Other fields of the record.

    Raises:
        InvalidInput: An image has no pixels or too many.
    """
    height, width, channels = sizes
    if min(sizes) < 1 or channels > _MOST_CHANNELS:
        raise InvalidInput(
            f"{where}: images of {_text(sizes)}, expected at least one pixel and 1 to {_MOST_CHANNELS} channels"
        )
    if (cells := math.prod(sizes)) > MOST_CELLS:
        scale = math.sqrt(MOST_CELLS / cells)
        small = f"{max(1, int(height * scale))}x{max(1, int(width * scale))}"
        raise InvalidInput(
            f"{where}: images of {_text(sizes)} have {cells} values, expected at most {MOST_CELLS}; make them smaller, "
            f"such as with --resize {small} (Python: resize)"
        )
    if values is not None:
        more = {"depth": values.depth, "low": values.low, "high": values.high, **more}
    return ImageShape(height=height, width=width, channels=channels, **more)


class ValueRange:
    """The values of pixels, collected part by part.

    Whole numbers from 0 to 255 are those of files, "uint8", whatever their type. Reals from 0 to 1 or from -1 to 1 have
    that range; all others have the range that was found.

    Attributes:
        is_whole: Whether all values are whole numbers.
        has_missing: Whether a value is NaN.
    """

    def __init__(self) -> None:
        self.is_whole, self.has_missing = True, False
        self._least, self._most, self._is_real = math.inf, -math.inf, False

    def add(self, values: NDArray[Any]) -> None:
        """Add values (N, ...). Infinite ones do not count: their images cannot be used."""
        count = max(1, _PART_VALUES // max(1, math.prod(values.shape[1:])))
        for start in range(0, len(values), count):
            self._add(values[start : start + count])

    def _add(self, values: NDArray[Any]) -> None:
        if values.dtype == np.bool_:
            values = values * np.uint8(_WHITE)
        if values.dtype.kind == "f":
            self._is_real = True
            self.has_missing = self.has_missing or bool(np.isnan(values).any())
            values = values[np.isfinite(values)]
            self.is_whole = self.is_whole and bool((values == np.rint(values)).all())
        if values.size:
            self._least, self._most = min(self._least, float(values.min())), max(self._most, float(values.max()))

    @property
    def is_empty(self) -> bool:
        """Whether no value was found."""
        return self._most < self._least

    @property
    def found(self) -> tuple[float, float]:
        """The smallest and the largest value."""
        return self._least, self._most

    @property
    def depth(self) -> Literal["uint8", "float"]:
        """The field of ``ImageShape``."""
        fits = self.is_whole and self._least >= 0 and self._most <= _WHITE
        return "uint8" if fits and not (self._is_real and self._most <= 1) else "float"

    @property
    def low(self) -> float:
        """The field of ``ImageShape``."""
        return self._limits()[0]

    @property
    def high(self) -> float:
        """The field of ``ImageShape``."""
        return self._limits()[1]

    def _limits(self) -> tuple[float, float]:
        if self.depth == "uint8":
            return 0.0, _WHITE
        if self._is_real:
            for low, high in ((0.0, 1.0), (-1.0, 1.0)):
                if self._least >= low and self._most <= high:
                    return low, high
        return self._least, self._most


def shape_of_images(images: Any, layout: Layout = "auto", where: str = "X") -> ImageShape:
    """Return what the images of an array are, for training.

    Args:
        images: (N, H, W), (N, H, W, C) or (N, C, H, W): whole numbers, bool or reals; NaN is a missing pixel.
        layout: The order of the axes.
        where: Name in messages.

    Raises:
        InvalidInput: They are no numbers, their order of axes is open, or they are empty or too large.

    Examples:
        >>> shape_of_images(np.zeros((10, 8, 6, 3), np.uint8)).sizes
        (8, 6, 3)
    """
    array = _numbers(images, where)
    array = channels_last(array, find_layout(array.shape, where, layout))
    values = ValueRange()
    values.add(array)
    if values.is_empty:
        raise InvalidInput(f"{where}: holds no values: its shape is {array.shape}, or all are NaN")
    return image_shape(array.shape[1:], where, values)


def to_image_rows(images: Any, shape: ImageShape, where: str = "X") -> FloatArray:
    """Convert images to the rows of a model.

    Args:
        images: (N, H, W), (N, H, W, C), (N, C, H, W), or flat rows (N, D) in the order [H, W, C]; whole numbers, bool
            (black and white) or reals; NaN is a missing pixel.
        shape: What the model takes.
        where: Name in messages.

    Returns:
        float64 (N, D) in the units of the model, always a copy.

    Raises:
        InvalidInput: The images have another size, another range of values, or values that are infinite.

    Examples:
        >>> to_image_rows(np.ones((5, 2, 3), np.uint8), ImageShape(height=2, width=3)).shape
        (5, 6)
    """
    array = _numbers(images, where)
    if array.ndim != 2 or array.shape[1] != shape.num_cells:
        array = channels_last(array, _layout_for(array.shape, shape, where))
    if array.dtype == np.bool_:
        array = array * (_WHITE if shape.depth == "uint8" else 1.0)
    if array.dtype.kind == "f" and np.isinf(array).any():
        raise InvalidInput(f"{where}: holds infinite values; write NaN for pixels that are missing")
    refuse_other_values(array, shape, where)
    return np.array(array, np.float64, order="C").reshape(len(array), shape.num_cells)


def refuse_other_shape(found: ImageShape, expected: ImageShape, where: str) -> None:
    """Raise InvalidInput if images of a file do not fit a model, with what to do."""
    if found.sizes != expected.sizes:
        hint = "; --resize HxW (Python: resize) makes one size" if found.sizes[:2] != expected.sizes[:2] else ""
        raise InvalidInput(
            f"{where}: images of {_text(found.sizes)}, the model expects {_text(expected.sizes)}{hint}",
        )
    if found.depth == "float" or expected.depth == "float":
        _refuse_limits(found.low, found.high, expected, where, is_whole=found.depth == "uint8")


def _numbers(images: Any, where: str) -> NDArray[Any]:
    try:
        array = np.asarray(images)
    except (ValueError, TypeError) as error:
        raise InvalidInput(f"{where}: the images do not have one size; expected one array") from error
    if array.dtype.kind not in "buif":
        raise InvalidInput(f"{where}: holds values of type {array.dtype}, expected numbers")
    return array


def _layout_for(sizes: tuple[int, ...], shape: ImageShape, where: str) -> CheckedLayout:
    """Return the layout in which an array has the sizes of the model."""
    height, width, channels = shape.sizes
    layouts: list[CheckedLayout] = []
    if sizes[1:] == (height, width) and channels == 1:
        layouts.append("NHW")
    if sizes[1:] == (height, width, channels):
        layouts.append("NHWC")
    if sizes[1:] == (channels, height, width) and sizes[1:] != (height, width, channels):
        layouts.append("NCHW")
    if len(layouts) == 1:
        return layouts[0]
    if sizes == shape.sizes or (sizes == shape.sizes[:2] and channels == 1):
        raise InvalidInput(
            f"{where}: has shape {sizes}, which is one image; expected an array of images: {where}[None]"
        )
    raise InvalidInput(
        f"{where}: has shape {sizes}, expected (N, {height}, {width}, {channels}): images of {_text(shape.sizes)}, or "
        f"rows (N, {shape.num_cells})"
    )


def refuse_other_values(array: NDArray[Any], shape: ImageShape, where: str) -> None:
    """Raise InvalidInput if images are certainly in another unit than those of a model; infinite values may be left."""
    values = ValueRange()
    if array.size and not (array.dtype.kind == "f" and np.isinf(array).any()):
        values.add(array)
    if not values.is_empty:
        _refuse_limits(*values.found, shape, where, is_whole=values.is_whole)


def _refuse_limits(low: float, high: float, shape: ImageShape, where: str, *, is_whole: bool) -> None:
    """Raise InvalidInput if values in another unit than the model's are certain."""
    unit = f"the model was trained on values from {shape.low:g} to {shape.high:g}"
    if shape.depth == "uint8":
        if low >= 0 and high <= 1 and not is_whole:
            raise InvalidInput(f"{where}: holds values from {low:g} to {high:g}, and {unit}; multiply by 255")
        if low < shape.low or high > shape.high:
            is_centred = low >= -1 and high <= 1
            hint = "multiply x + 1 by 127.5" if is_centred else "scale them as the training images were"
            raise InvalidInput(f"{where}: holds values from {low:g} to {high:g}, and {unit}; {hint}")
    elif is_whole and shape.high <= 1 < high <= _WHITE and low >= 0:
        # Reals may leave the range of training: that is what an anomaly is. Whole numbers are of another unit.
        raise InvalidInput(
            f"{where}: holds whole numbers from {low:g} to {high:g}, and {unit}; "
            + ("divide by 255" if shape.low >= 0 else "divide by 127.5 and subtract 1")
        )


def _text(sizes: Sequence[int]) -> str:
    height, width, channels = sizes
    return f"{height} x {width} pixels with {channels} channel{'s' if channels != 1 else ''}"
