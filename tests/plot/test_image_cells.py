"""Images as colours."""

import numpy as np
import pytest

from anomaly_vae.errors import InvalidInput
from anomaly_vae.plot.image_cells import MISSING, four_axes, limits_of, to_colours


@pytest.mark.parametrize(
    ("images", "limits"),
    [
        (np.array([[[3, 4]]], np.uint8), (0, 255)),
        (np.array([[[3.0, 200.0]]]), (0, 255)),
        (np.array([[[0.2, np.nan, 0.4]]]), (0, 1)),
        (np.array([[[-0.2, 0.4]]]), (-1, 1)),
        (np.array([[[-20.5, 300.0]]]), (-20.5, 300.0)),
        (np.array([[[0.0, 16.0]]]), (0, 16)),
        (np.full((1, 2, 2), np.nan), (0, 1)),
    ],
)
def test_black_and_white_follow_from_the_values(images, limits):
    assert limits_of(images) == limits


def test_grey_colours_and_other_channels():
    grey = to_colours(np.array([0, 255], np.uint8).reshape(1, 1, 2, 1), 0, 255)
    assert grey.tolist() == [[[[0, 0, 0], [1, 1, 1]]]]
    assert to_colours(np.array([0.0, 0.5, 1.0, 0.3]).reshape(1, 1, 1, 4), 0, 1).tolist() == [[[[0, 0.5, 1]]]]
    assert to_colours(np.array([0.0, 1.0]).reshape(1, 1, 1, 2), 0, 1).tolist() == [[[[0.5, 0.5, 0.5]]]]
    assert to_colours(np.array([-9.0, 9.0, 0.5]).reshape(1, 1, 1, 3), 0, 1).tolist() == [[[[0, 1, 0.5]]]]


def test_a_missing_pixel_has_a_colour_of_its_own():
    assert to_colours(np.array([np.nan, 1.0]).reshape(1, 1, 2, 1), 0, 1)[0, 0, 0].tolist() == MISSING.tolist()


def test_other_arrays_are_refused():
    assert four_axes("images", np.zeros((5, 2, 3))).shape == (5, 2, 3, 1)
    for images in (np.zeros((5, 2)), np.zeros((5, 0, 2)), np.array([[["a"]]])):
        with pytest.raises(InvalidInput, match=r"images: .* expected numbers \(N, height, width\[, channels\]\)"):
            four_axes("images", images)
