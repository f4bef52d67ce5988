"""Images in memory, read batch by batch, and decoded to a file: the rows are the same."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from anomaly_vae.images import open_images
from anomaly_vae.training import row_source
from anomaly_vae.training.image_rows import ImageRows, SpooledRows, read_images
from tests.support.shaped import images


@pytest.fixture(scope="module")
def pixels():
    return images(40)[..., 0]


@pytest.fixture(scope="module")
def files(pixels, tmp_path_factory):
    path = tmp_path_factory.mktemp("images")
    np.save(path / "a.npy", pixels)
    np.save(path / "real.npy", np.where(pixels == pixels[3, 1, 1], np.nan, pixels / 255.0))
    header = bytes([0, 0, 8, 3]) + struct.pack(">III", *pixels.shape)
    with gzip.open(path / "a.idx.gz", "wb") as file:
        file.write(header + pixels.tobytes())
    return path


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(row_source, "MOST_BYTES", 8 * 12 * 20)


@pytest.mark.parametrize(("name", "kind"), [("a.npy", ImageRows), ("a.idx.gz", SpooledRows), ("real.npy", ImageRows)])
def test_large_images_are_read_from_files_as_they_are_in_memory(files, name, kind, tiny, monkeypatch):
    with read_images(open_images(files / name, layout="NHW")) as found:
        assert isinstance(found, kind)
        assert (len(found), found.num_cells) == (40, 12)
        numbers = np.array([7, 0, 39, 7])
        taken = found.take(numbers)
    monkeypatch.undo()
    with read_images(open_images(files / name, layout="NHW")) as whole:
        np.testing.assert_array_equal(taken, whole[numbers])
        assert isinstance(whole, np.ndarray)


def test_only_chosen_images_are_rows(files, pixels, tiny):
    chosen = np.array([2, 3, 30])
    with read_images(open_images(files / "a.npy", layout="NHW"), chosen) as rows:
        np.testing.assert_array_equal(rows, pixels[chosen].reshape(3, 12))
    many = np.arange(5, 40)
    for name in ("a.npy", "a.idx.gz"):
        with read_images(open_images(files / name, layout="NHW"), many) as source:
            np.testing.assert_array_equal(source.take(np.array([34, 0])), pixels[[39, 5]].reshape(2, 12))


def taken_of(source, numbers):
    with read_images(source) as rows:
        return rows.take(np.array(numbers))


def rows_of(source):
    with read_images(source) as rows:
        return rows


def test_images_that_cannot_be_read_are_left_out_with_a_warning(pixels, tmp_path, tiny, monkeypatch):
    """Large ones stay among the numbers as rows of NaN, which the batches of the training leave out."""
    real = pixels.astype(np.float64) / 255.0
    real[4, 0, 0] = np.inf
    np.save(tmp_path / "a.npy", real)
    source = open_images(tmp_path / "a.npy", layout="NHW")
    with pytest.warns(UserWarning, match="1 of 40 images cannot be read, such as 4"):
        taken = taken_of(source, [3, 4])
    assert np.isnan(taken).all(axis=1).tolist() == [False, True]
    monkeypatch.undo()
    source = open_images(tmp_path / "a.npy", layout="NHW")
    with pytest.warns(UserWarning, match="1 of 40 images cannot be read, such as 4"):
        whole = rows_of(source)
    assert whole.shape == (39, 12)
    assert not np.isnan(whole).any()
