"""Regions of a row: they cover every cell once, and their names say which."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.columns.regions import regions_of, rows_of_work
from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.columns.shapes import ImageShape, SeriesShape, cell_names


def shaped(shape):
    return Schema(columns=tuple(Column(name=name, kind="continuous") for name in cell_names(shape)), shape=shape)


@pytest.mark.parametrize(
    ("shape", "count"),
    [
        (SeriesShape(length=128, channels=("flow",)), 16),
        (SeriesShape(length=5, channels=("flow", "load")), 10),
        (SeriesShape(length=100, channels=tuple("abcdefgh")), 64),
        (SeriesShape(length=20, channels=tuple(f"c{i}" for i in range(200))), 200),
        (ImageShape(height=28, width=28), 49),
        (ImageShape(height=8, width=8), 64),
        (ImageShape(height=5, width=30, channels=3), 16),
    ],
)
def test_regions_cover_every_cell_once(shape, count):
    regions = regions_of(shaped(shape))
    assert len(regions) == count
    assert sorted(cell for region in regions for cell in region.cells) == list(range(shape.num_cells))
    assert len({region.name for region in regions}) == count


def test_the_columns_of_a_table_are_its_regions():
    schema = Schema(columns=(Column(name="a", kind="continuous"), Column(name="b", kind="binary")))
    assert [tuple(region) for region in regions_of(schema)] == [("a", (0,)), ("b", (1,))]


def test_a_region_of_a_window_names_its_channel_and_its_steps():
    shape = SeriesShape(length=33, channels=("flow", "load"))
    names, regions = cell_names(shape), regions_of(shaped(shape))
    of_load = {region.name: region.cells for region in regions}["load[-5..-3]"]
    assert [names[cell] for cell in of_load] == ["load[-5]", "load[-4]", "load[-3]"]
    assert regions[0].name == "flow[-32..-30]"
    assert regions[-1].name == "load[-2..0]"


def test_a_region_of_an_image_names_its_rows_and_columns():
    shape = ImageShape(height=28, width=20, channels=2)
    cells = np.arange(shape.num_cells).reshape(shape.sizes)
    by_name = {region.name: region.cells for region in regions_of(shaped(shape))}
    assert by_name["y4..7 x16..19"] == tuple(cells[4:8, 16:20].ravel())
    small = regions_of(shaped(ImageShape(height=3, width=3)))
    assert small[4].name == "y1 x1"


def test_explaining_a_row_counts_as_more_rows_if_it_has_more_regions():
    """Ten, and one more for each five."""
    columns = tuple(Column(name=f"c{i}", kind="continuous") for i in range(15))
    assert [rows_of_work(Schema(columns=columns[:d])) for d in (5, 15)] == [11.0, 13.0]
    assert rows_of_work(shaped(ImageShape(height=16, width=16))) == 10.0 + 64 / 5
