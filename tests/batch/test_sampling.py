"""Synthetic rows with a scorer whose samples are known."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from anomaly_vae.batch import sample_shaped, sample_table, sampling
from anomaly_vae.columns.shapes import ImageShape
from anomaly_vae.errors import ConfigError
from anomaly_vae.images import open_images
from tests.support.batches import FakeScorer
from tests.support.shaped_scorers import SumScorer, image_schema
from tests.support.windows import window_schema


def test_samples_are_written_in_blocks_of_different_seeds_with_texts(tmp_path):
    """Blocks with the same seed would repeat the same rows."""
    path, done = tmp_path / "out.parquet", []
    sample_table(FakeScorer(), str(path), 40_000, 2**32 - 1, on_rows=done.append)
    table = pq.read_table(path)
    assert table.column_names == ["city", "a"]
    assert table["city"].to_pylist()[:3] == ["Oslo", "Rome", "Oslo"]
    seeds, counts = np.unique(table["a"].to_numpy(), return_counts=True)
    assert (sum(done), len(done), len(table)) == (40_000, 3, 40_000)
    assert sorted(counts) == sorted(done)
    assert seeds.min() >= 0
    assert seeds.max() == 2**32 - 1  # the first block has the given seed


WINDOWS = SumScorer(window_schema(3, ("a", "b")))
IMAGES = {
    "grey": (ImageShape(height=4, width=5), (4, 5), "|u1"),
    "colour": (ImageShape(height=6, width=5, channels=3), (6, 5, 3), "|u1"),
    "reals": (ImageShape(height=4, width=5, depth="float", high=1.0), (4, 5), "<f8"),
}


@pytest.mark.parametrize("name", IMAGES)
def test_images_are_an_array_that_can_be_opened_again(tmp_path, name):
    shape, sizes, kind = IMAGES[name]
    path = tmp_path / "x.npy"
    sample_shaped(SumScorer(image_schema(shape)), str(path), 300, 60)
    images = np.load(path)
    assert (images.shape, images.dtype) == ((300, *sizes), np.dtype(kind))
    expected = np.arange(300) + 0.6  # what the scorer draws
    if kind == "|u1":
        expected = np.minimum(np.rint(expected), 255)  # of the range of files
    np.testing.assert_array_equal(images.reshape(300, -1)[:, 3], expected)
    assert open_images(path).shape.sizes == shape.sizes


def test_windows_are_an_array_or_a_table_of_steps(tmp_path):
    sample_shaped(WINDOWS, str(tmp_path / "w.npy"), 7, 0)
    windows = np.load(tmp_path / "w.npy")
    assert (windows.shape, windows.dtype) == ((7, 3, 2), np.float64)
    sample_shaped(WINDOWS, str(tmp_path / "w.parquet"), 7, 0)
    table = pq.read_table(tmp_path / "w.parquet")
    assert table.column_names == ["window", "step", "a", "b"]
    assert table["window"].to_pylist() == np.repeat(np.arange(7), 3).tolist()
    assert table["step"].to_pylist() == [0, 1, 2] * 7
    np.testing.assert_array_equal(np.column_stack([table["a"], table["b"]]), windows.reshape(21, 2))


def test_large_windows_are_drawn_in_smaller_blocks(tmp_path, monkeypatch):
    """Blocks have different seeds; the windows keep their numbers."""
    monkeypatch.setattr(sampling, "_CELLS_PER_BLOCK", 18)
    done = []
    sample_shaped(WINDOWS, str(tmp_path / "w.parquet"), 7, 0, on_rows=done.append)
    table = pq.read_table(tmp_path / "w.parquet")
    assert done == [3, 3, 1]
    assert table["window"].to_pylist() == np.repeat(np.arange(7), 3).tolist()
    assert len(set(table["a"].to_pylist())) == 7


def test_outputs_that_cannot_hold_the_samples_are_refused(tmp_path):
    images = SumScorer(image_schema(IMAGES["grey"][0]))
    with pytest.raises(ConfigError, match="images are written as an array; give a file that ends in"):
        sample_shaped(images, str(tmp_path / "x.csv"), 3, 0)
    with pytest.raises(ConfigError, match="the model has a channel 'step', as the table would"):
        sample_shaped(SumScorer(window_schema(3, ("step",))), str(tmp_path / "x.csv"), 3, 0)
    assert list(tmp_path.iterdir()) == []
