"""The order of the axes of an array of images."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.columns.image_layouts import channels_last, find_layout
from anomaly_vae.errors import ConfigError, InvalidInput

BYTES = np.random.default_rng(0).integers(0, 256, (6, 7, 5, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((9, 8, 7), "NHW"),
        ((3, 8, 7), "NHW"),
        ((9, 8, 7, 1), "NHWC"),
        ((9, 8, 7, 3), "NHWC"),
        ((9, 8, 7, 4), "NHWC"),
        ((9, 3, 8, 7), "NCHW"),
        ((9, 1, 8, 7), "NCHW"),
    ],
)
def test_the_channels_show_the_order_of_the_axes(sizes, expected):
    assert find_layout(sizes, "x") == expected


@pytest.mark.parametrize("sizes", [(28, 28, 3), (9, 3, 8, 3), (9, 1, 8, 3), (9, 8, 7, 5)])
def test_an_open_order_of_axes_must_be_named(sizes):
    with pytest.raises(InvalidInput, match=r"^x: has shape .* does not show the order of its axes; name it: layout="):
        find_layout(sizes, "x")
    layout = "NHWC" if len(sizes) == 4 else "NHW"
    assert find_layout(sizes, "x", layout) == layout


def test_a_layout_that_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="layout is 'HWC', expected 'auto', 'NHW'"):
        find_layout((1, 2, 3), "x", "HWC")
    with pytest.raises(InvalidInput, match=r"x: has shape \(9, 8, 7\), expected 4 axes for layout='NCHW'"):
        find_layout((9, 8, 7), "x", "NCHW")
    with pytest.raises(InvalidInput, match=r"x: has shape \(9, 8\), expected images"):
        find_layout((9, 8), "x")


def test_all_layouts_are_the_same_images():
    np.testing.assert_array_equal(channels_last(np.moveaxis(BYTES, 3, 1), "NCHW"), BYTES)
    np.testing.assert_array_equal(channels_last(BYTES, "NHWC"), BYTES)
    np.testing.assert_array_equal(channels_last(BYTES[..., 0], "NHW"), BYTES[..., :1])
