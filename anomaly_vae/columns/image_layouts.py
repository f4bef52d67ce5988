"""The order of the axes of an array of images. It imports no numpy: completing a command line must be quick."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from anomaly_vae.errors import ConfigError, InvalidInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LAYOUTS", "CheckedLayout", "Layout", "channels_last", "find_layout"]

CheckedLayout = Literal["NHW", "NHWC", "NCHW"]
Layout = Literal["auto", "NHW", "NHWC", "NCHW"]
LAYOUTS: tuple[Layout, ...] = ("auto", "NHW", "NHWC", "NCHW")

# Numbers of channels that show where the channels are: grey, colours, and colours with transparency.
_USUAL_CHANNELS = (1, 3, 4)

_ORDER = "'NHW' (image, height, width), 'NHWC' (image, height, width, channel) or 'NCHW'"


def find_layout(sizes: Sequence[int], where: str, layout: Layout = "auto") -> CheckedLayout:
    """Return the order of the axes of an array of images.

    Args:
        sizes: The shape of the array.
        where: Name in messages.
        layout: The order that the user named, or "auto".

    Raises:
        ConfigError: There is no such layout.
        InvalidInput: The array has another number of axes, or the layout is open: name it.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"layout is {layout!r}, expected 'auto', {_ORDER}")
    sizes = tuple(sizes)
    if layout != "auto":
        if len(sizes) != len(layout):
            raise InvalidInput(f"{where}: has shape {sizes}, expected {len(layout)} axes for layout={layout!r}")
        return layout
    if len(sizes) == 3 and sizes[2] not in _USUAL_CHANNELS:
        return "NHW"
    if len(sizes) == 4:
        last, second = sizes[3] in _USUAL_CHANNELS, sizes[1] in _USUAL_CHANNELS
        if last != second:
            return "NHWC" if last else "NCHW"
    elif len(sizes) != 3:
        raise InvalidInput(f"{where}: has shape {sizes}, expected images with the axes {_ORDER}")
    raise InvalidInput(
        f"{where}: has shape {sizes}, which does not show the order of its axes; name it: layout={_ORDER}"
    )


def channels_last(images: NDArray[Any], layout: CheckedLayout) -> NDArray[Any]:
    """Return a view (N, H, W, C) of an array in any layout."""
    if layout == "NHW":
        return images[..., None]
    return images if layout == "NHWC" else images.transpose(0, 2, 3, 1)
