"""Latent means with a scorer whose means are known."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from anomaly_vae.batch import encode_images, encode_series, encode_table, encoding, read_series
from anomaly_vae.columns.shapes import ImageShape
from anomaly_vae.errors import ConfigError, InvalidInput
from anomaly_vae.images import open_images
from tests.support.batches import TEXT, FakeScorer
from tests.support.shaped_scorers import SumScorer, image_schema
from tests.support.tables import csv_table
from tests.support.windows import window_schema


def test_latent_means_are_written_beside_kept_columns(tmp_path):
    path = tmp_path / "out.parquet"
    summary = encode_table(FakeScorer(), csv_table(TEXT), str(path), keep=["id"])
    table = pq.read_table(path)
    assert table.column_names == ["id", "z0", "z1", "z2"]
    assert table["z1"].to_pylist() == [-1.5, None, 3.0, None, None]
    assert table["z2"].to_pylist() == [0.0, None, 1.0, None, -1.0]
    assert summary.unscored.total() == 2
    with pytest.raises(ConfigError, match="--keep z0: the output has a column of that name"):
        encode_table(FakeScorer(), csv_table("a,city,z0\n1,Oslo,2\n"), str(path), keep=["z0"], overwrite=True)


@pytest.mark.parametrize("at_once", [2, 1000])
def test_each_row_of_series_has_the_position_of_its_window(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(encoding, "_ROWS_AT_ONCE", at_once)
    scorer, path, means = SumScorer(window_schema(2, ("a",), series="host")), str(tmp_path / "out.parquet"), []
    text = "host,a,id\nx,1,r1\ny,-7,r2\nx,2,r3\ny,3,r4\nx,high,r5\n"
    series, done = read_series(csv_table(text), scorer.schema, path, ["id"]), []
    summary = encode_series(scorer, series, path, on_windows=done.append, on_means=means.append)
    table = pq.read_table(path)
    assert table.column_names == ["id", "z0", "z1"]
    assert table["id"].to_pylist() == ["r1", "r2", "r3", "r4", "r5"]
    assert table["z0"].to_pylist() == [None, None, 3.0, -4.0, None]
    np.testing.assert_array_equal(np.concatenate(means), [[3.0, 2.0], [-4.0, 2.0]])
    assert (dict(summary.unscored), done) == ({"no window": 2, "unreadable": 1}, [2])
    kept = read_series(csv_table("host,a,z0\nx,1,2\n"), scorer.schema, path, ["z0"])
    with pytest.raises(ConfigError, match="--keep z0: the output has a column of that name"):
        encode_series(scorer, kept, path, overwrite=True)


def test_each_image_has_a_position_and_its_name(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(12, dtype=np.uint8).reshape(2, 2, 3))
    scorer, path = SumScorer(image_schema(ImageShape(height=2, width=3))), tmp_path / "out.parquet"
    images = open_images(tmp_path / "x.npy", layout="NHW")
    summary = encode_images(scorer, images, str(path))
    table = pq.read_table(path)
    assert table.to_pydict() == {"image": ["0", "1"], "z0": [15.0, 51.0], "z1": [6.0, 6.0]}
    assert summary.rows == 2
    with pytest.raises(InvalidInput, match="the model expects 3 x 3"):
        encode_images(SumScorer(image_schema(ImageShape(height=3, width=3))), images, str(path), overwrite=True)
