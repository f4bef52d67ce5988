"""Names and sizes of the cells of windows and images."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.columns.shapes import ImageShape, SeriesShape, cell_names


@pytest.mark.parametrize(
    ("shape", "sizes", "plane"),
    [
        (SeriesShape(length=5, channels=("a", "b")), (5, 2), (1, 5)),
        (ImageShape(height=3, width=4), (3, 4, 1), (3, 4)),
        (ImageShape(height=3, width=4, channels=3), (3, 4, 3), (3, 4)),
    ],
)
def test_every_cell_has_a_name_of_its_own(shape, sizes, plane):
    assert (shape.sizes, shape.plane) == (sizes, plane)
    names = cell_names(shape)
    assert len(set(names)) == len(names) == shape.num_cells == np.prod(sizes)
    assert shape.num_channels * plane[0] * plane[1] == shape.num_cells


def test_the_channel_changes_fastest():
    """The names follow the order of a C-contiguous array [T, C] or [H, W, C]."""
    assert cell_names(SeriesShape(length=3, channels=("a", "b")))[:3] == ("a[-2]", "b[-2]", "a[-1]")
    assert cell_names(ImageShape(height=2, width=2, channels=2))[:5] == (
        "y0x0c0",
        "y0x0c1",
        "y0x1c0",
        "y0x1c1",
        "y1x0c0",
    )


def test_the_manifest_keeps_the_shape():
    for shape, kind in (
        (None, "table"),
        (SeriesShape(length=2, channels=("a",)), "series"),
        (ImageShape(height=1, width=2), "image"),
    ):
        schema = Schema(columns=(Column(name="a", kind="continuous"),), shape=shape)
        assert schema.kind == kind
        assert msgspec.json.decode(msgspec.json.encode(schema), type=Schema) == schema
