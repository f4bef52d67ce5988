"""Arrays of images: the range of their values, and the rows of a model."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from anomaly_vae.columns.image_arrays import (
    ValueRange,
    image_shape,
    refuse_other_shape,
    shape_of_images,
    to_image_rows,
)
from anomaly_vae.columns.shapes import MOST_CELLS, ImageShape
from anomaly_vae.errors import InvalidInput

GREY = ImageShape(height=7, width=5)
COLOURS = ImageShape(height=7, width=5, channels=3)
UNIT = ImageShape(height=7, width=5, depth="float", low=0.0, high=1.0)
RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (6, 7, 5, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("values", "depth", "low", "high"),
    [
        (np.array([3, 200], np.uint8), "uint8", 0, 255),
        (np.array([0, 1], np.int64), "uint8", 0, 255),
        (np.array([True, False]), "uint8", 0, 255),
        (np.array([0, 4095], np.uint16), "float", 0, 4095),
        (np.array([-3, 9], np.int8), "float", -3, 9),
        (np.array([0.25, 0.5]), "float", 0, 1),
        (np.array([0.0, 1.0]), "float", 0, 1),
        (np.array([-0.25, 0.5]), "float", -1, 1),
        (np.array([0.5, 7.0]), "float", 0.5, 7),
        (np.array([0.0, 7.0, np.nan, np.inf], np.float32), "uint8", 0, 255),
    ],
)
def test_the_range_of_values_is_found(values, depth, low, high):
    found = ValueRange()
    for value in values:
        found.add(np.array([value]))
    assert (found.depth, found.low, found.high) == (depth, low, high)
    assert found.has_missing == (values.dtype.kind == "f" and np.isnan(values).any())


def test_large_arrays_are_compared_in_parts():
    """The smallest and largest value of 3 million reals are in different parts, and copies stay small."""
    values = np.full((300, 100, 100), 0.5)
    values[0, 0, 0], values[-1, 0, 0] = -3, 9
    found = ValueRange()
    tracemalloc.start()
    found.add(values)
    assert tracemalloc.get_traced_memory()[1] < values.nbytes
    tracemalloc.stop()
    assert found.found == (-3, 9)


def test_the_shape_of_training_images():
    assert shape_of_images(BYTES) == COLOURS
    assert shape_of_images(np.moveaxis(BYTES, 3, 1)) == COLOURS
    assert shape_of_images(BYTES[..., 0] / 255) == UNIT
    for wrong, text in [
        (np.full((2, 9, 9), np.nan), "holds no values"),
        (np.empty((0, 9, 9)), "holds no values"),
        (np.array([["a"]]), "holds values of type <U1, expected numbers"),
        ([np.zeros((2, 2)), np.zeros((3, 3))], "do not have one size"),
    ]:
        with pytest.raises(InvalidInput, match=text):
            shape_of_images(wrong)


def test_images_that_are_too_large_are_refused_with_a_size_that_fits():
    with pytest.raises(InvalidInput, match=r"640 x 480 pixels with 3 channels have 921600 values.*--resize 85x64"):
        image_shape((640, 480, 3), "x")
    assert MOST_CELLS >= 85 * 64 * 3
    with pytest.raises(InvalidInput, match="expected at least one pixel"):
        image_shape((0, 480, 3), "x")
    with pytest.raises(InvalidInput, match="1 to 64 channels"):
        image_shape((4, 4, 65), "x")


@pytest.mark.parametrize("images", [BYTES, np.moveaxis(BYTES, 3, 1), BYTES.reshape(6, 105), BYTES.astype("f4")])
def test_rows_are_flat_images_in_any_layout(images):
    rows = to_image_rows(images, COLOURS)
    assert rows.dtype == np.float64
    np.testing.assert_array_equal(rows, BYTES.reshape(6, 105))


def test_rows_are_a_copy():
    images = np.zeros((2, 35))
    to_image_rows(images, GREY)[:] = 7
    assert not images.any()


def test_grey_images_need_no_axis_of_channels():
    grey = BYTES[..., 0]
    for images in (grey, grey[..., None], grey[:, None]):
        np.testing.assert_array_equal(to_image_rows(images, GREY), grey.reshape(6, 35))


def test_missing_pixels_stay_missing_and_black_and_white_is_0_and_255():
    images = np.full((1, 7, 5), 9.0)
    images[0, 1, 2] = np.nan
    assert np.flatnonzero(np.isnan(to_image_rows(images, GREY)[0])).tolist() == [7]
    assert set(np.unique(to_image_rows(BYTES[..., 0] > 99, GREY))) == {0, 255}
    assert set(np.unique(to_image_rows(BYTES[..., 0] > 99, UNIT))) == {0, 1}


@pytest.mark.parametrize(
    ("images", "shape", "text"),
    [
        (BYTES / 255, COLOURS, "from 0 to 255; multiply by 255"),
        (BYTES / 127.5 - 1, COLOURS, r"multiply x \+ 1 by 127.5"),
        (BYTES.astype("i4") * 16, COLOURS, "holds values from .* scale them as the training images were"),
        (BYTES[..., 0], UNIT, "holds whole numbers .* from 0 to 1; divide by 255"),
        (np.where(BYTES > 3, np.inf, 0), COLOURS, "infinite"),
        (BYTES, GREY, r"has shape \(6, 7, 5, 3\), expected \(N, 7, 5, 1\)"),
        (BYTES[0], COLOURS, r"which is one image; expected an array of images: X\[None\]"),
        (BYTES[0, ..., 0], GREY, "which is one image"),
        (BYTES.reshape(6, 105)[:, 1:], COLOURS, r"has shape \(6, 104\)"),
        (BYTES.astype("U3"), COLOURS, "expected numbers"),
    ],
)
def test_images_that_do_not_fit_the_model_are_refused(images, shape, text):
    with pytest.raises(InvalidInput, match=f"^X: .*{text}"):
        to_image_rows(images, shape)


def test_reals_may_leave_the_range_of_training_and_black_images_are_black():
    """An anomaly may be brighter than all training images; an image of zeros shows no unit."""
    assert to_image_rows(np.full((1, 7, 5), 1.7), UNIT).max() == 1.7
    assert to_image_rows(np.zeros((1, 7, 5)), GREY).max() == 0
    assert to_image_rows(np.empty((0, 7, 5)), GREY).shape == (0, 35)


def test_a_file_is_compared_with_the_model():
    refuse_other_shape(COLOURS, COLOURS, "f")
    refuse_other_shape(GREY, ImageShape(height=7, width=5, depth="float", high=4095.0), "f")
    with pytest.raises(
        InvalidInput, match=r"f: images of 7 x 5 pixels with 3 channels, the model expects .*1 channel$"
    ):
        refuse_other_shape(COLOURS, GREY, "f")
    with pytest.raises(InvalidInput, match="--resize HxW"):
        refuse_other_shape(ImageShape(height=5, width=5), GREY, "f")
    with pytest.raises(InvalidInput, match="multiply by 255"):
        refuse_other_shape(UNIT, GREY, "f")
    with pytest.raises(InvalidInput, match="divide by 255"):
        refuse_other_shape(GREY, UNIT, "f")
