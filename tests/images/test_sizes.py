"""All images must be of one kind."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.columns.shapes import ImageShape
from anomaly_vae.errors import InvalidInput
from anomaly_vae.images.decoding import Look
from anomaly_vae.images.sizes import Sizes


def sizes_of(*looks):
    sizes = Sizes()
    for number, look in enumerate(looks):
        sizes.add(look, f"{number}.png")
    return sizes


GREY, COLOURS = Look((6, 4, 1), "uint8", False), Look((6, 4, 3), "uint8", True)
WIDE, DEEP = Look((6, 9, 1), "uint8", False), Look((6, 4, 1), "float", False)


def test_images_of_one_kind():
    assert Sizes().is_empty
    assert not sizes_of(GREY).is_empty
    assert sizes_of(GREY, GREY).shape("x", is_resized=True) == ImageShape(height=6, width=4, resized=True)
    deep = sizes_of(DEEP)
    assert deep.shape("x", is_resized=False) == ImageShape(height=6, width=4, depth="float", high=65535.0)
    assert (sizes_of(GREY).dtype, deep.dtype) == (np.uint8, np.float64)


def test_other_kinds_are_named_with_counts_an_example_and_the_remedy():
    with pytest.raises(InvalidInput) as error:
        sizes_of(WIDE, GREY, GREY).shape("x", is_resized=False)
    assert str(error.value) == (
        "x: holds images of several kinds: 2 of 6x4 with 1 channel (1.png), 1 of 6x9 with 1 channel (0.png); "
        "--resize 6x4 (Python: resize) makes one size"
    )
    with pytest.raises(InvalidInput, match="--channels 1 or --channels 3"):
        sizes_of(GREY, COLOURS).shape("x", is_resized=False)
    with pytest.raises(InvalidInput, match=r"6x4 with 1 channel of 16 bits .* convert images of 16 bits"):
        sizes_of(GREY, DEEP).shape("x", is_resized=False)
    many = [Look((height, 4, 1), "uint8", False) for height in range(1, 9)]
    with pytest.raises(InvalidInput, match="4 other kinds"):
        sizes_of(*many).shape("x", is_resized=False)


def test_transparency_is_noted():
    assert list(sizes_of(GREY).notes("x")) == []
    assert list(sizes_of(COLOURS, COLOURS).notes("x")) == [
        "x: the transparency of 2 images is left out; --channels 4 (Python: channels=4) keeps it"
    ]
