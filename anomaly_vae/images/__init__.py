"""Images from folders, arrays and tables as rows of a model, read from disk as they are needed."""

from __future__ import annotations

from anomaly_vae.columns.image_arrays import refuse_other_shape, shape_of_images, to_image_rows
from anomaly_vae.columns.image_layouts import Layout
from anomaly_vae.images.base import BATCH_IMAGES, ImageBatch, ImageSource, Problem
from anomaly_vae.images.opening import is_image_input, open_images

__all__ = [
    "BATCH_IMAGES",
    "ImageBatch",
    "ImageSource",
    "Layout",
    "Problem",
    "is_image_input",
    "open_images",
    "refuse_other_shape",
    "shape_of_images",
    "to_image_rows",
]
