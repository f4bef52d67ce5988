"""The options that say how images are read."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from anomaly_vae.errors import ConfigError

if TYPE_CHECKING:
    from anomaly_vae.columns.image_layouts import Layout

__all__ = ["ImageOptions", "image_options"]


@dataclass(frozen=True)
class ImageOptions:
    """How images are read.

    Attributes:
        layout: The order of the axes of an array.
        resize: Height and width to resize to, such as "64x48"; None keeps them.
        column: The column of a Parquet or Arrow file with the images; None finds it.
    """

    layout: Layout = "auto"
    resize: str | None = None
    column: str | None = None

    def refuse(self, what: str) -> None:
        """Raise ConfigError if an option was given although INPUT holds no images."""
        for name, is_given in (
            ("--layout", self.layout != "auto"),
            ("--resize", self.resize is not None),
            ("--image-column", self.column is not None),
        ):
            if is_given:
                raise ConfigError(f"{name} is for images; {what}")


_OPTIONS = (
    click.option(
        "--layout",
        type=click.Choice(["auto", "NHW", "NHWC", "NCHW"]),
        default="auto",
        show_default=True,
        help="Images: order of the axes of an array: image (N), height, width, channel.",
    ),
    click.option("--resize", metavar="HxW", help="Images: resize to this height and width in pixels."),
    click.option("--image-column", metavar="NAME", help="Images: their column in a Parquet or Arrow file."),
)


def image_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options --layout, --resize and --image-column, as its parameter ``images``."""

    @functools.wraps(command)
    def with_images(*args: Any, layout: Layout, resize: str | None, image_column: str | None, **kwargs: Any) -> Any:
        return command(*args, images=ImageOptions(layout, resize, image_column), **kwargs)

    for option in reversed(_OPTIONS):
        with_images = option(with_images)
    return with_images
