"""Images inside a page: PNG that another library reads."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from anomaly_vae.pages.pixels import picture, png


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pillow_reads_the_same_pixels(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, channels), dtype=np.uint8)
    found = np.asarray(Image.open(io.BytesIO(png(pixels))))
    np.testing.assert_array_equal(found.reshape(5, 7, channels), pixels)


def read(element):
    data = re.search(r"data:image/png;base64,([A-Za-z0-9+/=]+)", element)[1]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_values_become_grey_from_low_to_high():
    values = np.array([[[0.0], [0.5], [1.0]], [[-9.0], [9.0], [np.nan]]])
    assert read(picture(values, 0.0, 1.0, "image")).tolist() == [[0, 128, 255], [0, 255, 128]]


def test_large_images_are_thinned_and_odd_channels_show_the_first():
    shown = read(picture(np.full((300, 200, 2), 7.0), 0.0, 7.0, "image"))
    assert shown.shape == (75, 50)
    assert (shown == 255).all()


def test_the_text_is_escaped():
    assert '"><' not in picture(np.zeros((1, 1, 1)), 0.0, 1.0, '"><img src=x>')[:-1]
