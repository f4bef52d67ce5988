"""INPUT for models of tables, series and images."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anomaly_vae.cli.image_options import ImageOptions
from anomaly_vae.cli.model_input import ModelInput
from anomaly_vae.columns.reading.options import ReadOptions
from anomaly_vae.columns.shapes import ImageShape
from anomaly_vae.errors import ConfigError, InvalidInput
from tests.support.batches import SCHEMA
from tests.support.shaped_scorers import image_schema
from tests.support.windows import window_schema

Image = pytest.importorskip("PIL.Image")

GREY = image_schema(ImageShape(height=4, width=3))
COLOUR = image_schema(ImageShape(height=4, width=3, channels=3))


def given(path, **options):
    return ModelInput(str(path), ReadOptions(), (), ImageOptions(**options))


def write_table(path):
    """Parquet keeps no file open."""
    pq.write_table(pa.table({"a": [1.0], "city": ["Oslo"]}), path)
    return path


@pytest.fixture
def colours(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        Image.fromarray(np.full((4, 3, 3), 60 * i, np.uint8)).save(folder / f"{i}.png")
    return folder


def test_a_table_is_opened_for_tables_and_series(tmp_path):
    path = write_table(tmp_path / "t.parquet")
    for schema in (SCHEMA, window_schema(2, ("a",))):
        assert given(path).table(schema).names == ("a", "city")


def test_a_wrong_path_fails_before_the_model_is_known(tmp_path):
    with pytest.raises(InvalidInput, match="no such file"):
        given(tmp_path / "no.csv")


def test_a_table_for_a_model_of_images_is_told_what_to_give(tmp_path):
    path = write_table(tmp_path / "t.parquet")
    with pytest.raises(
        InvalidInput, match="holds a table, the model scores images of 4 x 3 pixels with 1 channel; exp"
    ):
        given(path).images(GREY)


def test_images_for_a_model_of_tables_are_told_what_to_give(tmp_path, colours):
    np.save(tmp_path / "x.npy", np.zeros((5, 4, 3), np.uint8))
    for path in (tmp_path / "x.npy", colours):
        with pytest.raises(InvalidInput, match="holds images, the model scores rows of a table; expected a table"):
            given(path).table(SCHEMA)
        with pytest.raises(InvalidInput, match="the model scores windows of series"):
            given(path).table(window_schema(2, ("a",)))
    path = write_table(tmp_path / "t.parquet")
    with pytest.raises(ConfigError, match="--layout is for images; the model scores rows of a table"):
        given(path, layout="NHW").table(SCHEMA)


def test_a_parquet_file_may_have_images_beside_the_columns_of_a_table(tmp_path, colours):
    photo = (colours / "0.png").read_bytes()
    pq.write_table(pa.table({"a": [1.0], "city": ["Oslo"], "photo": [photo]}), tmp_path / "t.parquet")
    assert given(tmp_path / "t.parquet").table(SCHEMA).names == ("a", "city", "photo")
    assert len(given(tmp_path / "t.parquet").images(COLOUR)) == 1


def test_files_have_the_colours_and_if_training_resized_the_size_of_the_model(tmp_path, colours):
    assert given(colours).images(COLOUR).shape.sizes == (4, 3, 3)
    assert given(colours).images(GREY).shape.sizes == (4, 3, 1)
    resized = image_schema(ImageShape(height=8, width=6, resized=True))
    assert given(colours).images(resized).shape.sizes == (8, 6, 1)
    other = image_schema(ImageShape(height=8, width=6))
    with pytest.raises(InvalidInput, match=r"images of 4 x 3 pixels.*the model expects 8 x 6.*--resize"):
        given(colours).images(other)
    assert given(colours, resize="8x6").images(other).shape.sizes == (8, 6, 1)


@pytest.mark.parametrize(
    ("sizes", "schema", "layout"),
    [
        ((9, 4, 3), GREY, "auto"),
        ((9, 4, 3, 3), COLOUR, "auto"),
        ((9, 3, 4, 3), COLOUR, "auto"),
        ((9, 4, 3), GREY, "NHW"),
    ],
)
def test_an_array_whose_order_is_open_has_that_of_the_model(tmp_path, sizes, schema, layout):
    np.save(tmp_path / "x.npy", np.zeros(sizes, np.uint8))
    assert given(tmp_path / "x.npy", layout=layout).images(schema).shape.sizes == schema.shape.sizes


def test_an_array_of_no_order_of_the_model_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((9, 5, 3), np.uint8))
    with pytest.raises(InvalidInput, match="does not show the order of its axes"):
        given(tmp_path / "x.npy").images(GREY)
