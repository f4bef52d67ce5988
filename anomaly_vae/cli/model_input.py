"""The INPUT of a command for a model of tables, of series or of images, and errors if it does not fit the model."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from anomaly_vae.cli.image_options import ImageOptions
from anomaly_vae.cli.table_options import refuse_filter
from anomaly_vae.columns.shapes import ImageShape
from anomaly_vae.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anomaly_vae.columns.image_layouts import Layout
    from anomaly_vae.columns.schema import Schema
    from anomaly_vae.images import ImageSource
    from anomaly_vae.table import ReadOptions, Table

__all__ = ["ModelInput", "channels_to_decode"]

_IMAGES = "a folder of PNG or JPEG files, an array of images (.npy), an idx file, or Parquet with encoded images"

# Endings of images that are decoded. A folder or a pattern holds these too.
_ENCODED = (".png", ".jpg", ".jpeg", ".parquet", ".arrow", ".feather")

# Channels that images can be converted to.
_DECODED_CHANNELS = (1, 3, 4)

_LAYOUTS: tuple[Layout, ...] = ("NHW", "NHWC", "NCHW")


class ModelInput:
    """A path, opened as the model needs it; looked at before a model is loaded, so that a wrong path fails at once.

    Attributes:
        path: The path.
    """

    def __init__(
        self,
        path: str,
        reading: ReadOptions,
        missing_values: Sequence[str],
        images: ImageOptions,
        *,
        skips: bool = False,
    ) -> None:
        """Look at what the path holds; with ``skips``, files of a folder that cannot be read are left out.

        Raises:
            InvalidInput: There is no such file, or it is neither a table nor images.
        """
        from anomaly_vae.images import is_image_input

        self.path, self._reading, self._missing_values, self._images = path, reading, tuple(missing_values), images
        self._skips = skips
        self._holds_images = path != "-" and is_image_input(path)
        self._table = None if self._holds_images else self._open_table()

    def table(self, schema: Schema) -> Table:
        """Return the table.

        Raises:
            InvalidInput: There are images.
            ConfigError: An option is one of images.
        """
        what = "windows of series" if schema.kind == "series" else "rows of a table"
        self._images.refuse(f"the model scores {what}")
        if self._table is not None:
            return self._table
        try:
            return self._open_table()  # Parquet can have a column of images beside those of the model
        except InvalidInput as error:
            raise InvalidInput(
                f"{self.path}: holds images, the model scores {what}; expected a table such as a .csv file"
            ) from error

    def images(self, schema: Schema) -> ImageSource:
        """Return the images, with the layout, the channels and the size of the model.

        Raises:
            InvalidInput: There are no images, or they do not fit the model.
        """
        from anomaly_vae.images import refuse_other_shape

        shape = schema.shape
        if not isinstance(shape, ImageShape):
            raise TypeError("the model is not one of images")
        if not self._holds_images:
            raise InvalidInput(
                f"{self.path}: holds a table, the model scores images of {shape.height} x {shape.width} pixels with "
                f"{shape.channels} channel{'s' if shape.channels > 1 else ''}; expected {_IMAGES}"
            )
        refuse_filter(self._reading)
        source = self._open_images(shape)
        refuse_other_shape(source.shape, shape, source.where)
        return source

    def _open_table(self) -> Table:
        from anomaly_vae.table import open_table

        return open_table(self.path, self._reading, self._missing_values, skips=self._skips)

    def _open_images(self, shape: ImageShape) -> ImageSource:
        """Open the images; an array whose order of axes is open has that of the model, if it has its size."""
        from anomaly_vae.images import open_images

        given = self._images
        resize = given.resize or (f"{shape.height}x{shape.width}" if shape.resized else None)
        if (channels := channels_to_decode(self.path, shape)) is not None:
            return open_images(self.path, layout=given.layout, resize=resize, channels=channels, column=given.column)
        try:
            return open_images(self.path, layout=given.layout, resize=resize, column=given.column)
        except InvalidInput:
            if given.layout == "auto":
                for layout in _LAYOUTS:
                    with contextlib.suppress(InvalidInput):
                        source = open_images(self.path, layout=layout, resize=resize)
                        if source.shape.sizes == shape.sizes:
                            return source
            raise


def channels_to_decode(path: str, shape: ImageShape) -> int | None:
    """Return the channels that the model's images are decoded to; None for an array, which has its own.

    Args:
        path: Where the images are.
        shape: That of the model.
    """
    file = Path(path).expanduser()
    is_encoded = not file.is_file() or file.suffix.lower() in _ENCODED
    return shape.channels if is_encoded and shape.channels in _DECODED_CHANNELS else None
