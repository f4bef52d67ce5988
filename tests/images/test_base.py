"""What all sources share: batches, rows by number, problems."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from anomaly_vae.columns.shapes import ImageShape
from anomaly_vae.errors import AnomalyVaeWarning, InvalidInput
from anomaly_vae.images.base import BadImage, ImageSource, Numbers

IMAGES = np.arange(11 * 6, dtype=np.uint8).reshape(11, 2, 3, 1)


class Memory(ImageSource):
    """A source in memory, with bad images at some places."""

    def __init__(self, bad=(), images=IMAGES, length=None):
        super().__init__()
        self.where, self.names, self.shape = "memory", Numbers(length or len(images)), ImageShape(height=2, width=3)
        self._images, self._bad, self.dtype = images, set(bad), images.dtype

    def _read_all(self):
        return self._read_some(range(len(self._images)))

    def _read_some(self, numbers):
        for number in numbers:
            yield BadImage("is torn") if number in self._bad else self._images[number]


def test_batches_are_all_images_in_order():
    batches = list(Memory().batches(4))
    assert [len(batch.images) for batch in batches] == [4, 4, 3]
    assert [batch.start for batch in batches] == [0, 4, 8]
    np.testing.assert_array_equal(np.concatenate([batch.images for batch in batches]), IMAGES)
    np.testing.assert_array_equal(batches[1].rows(), IMAGES[4:8].reshape(4, 6))


def test_a_bad_image_is_a_fault_of_its_row_and_is_said_once():
    source = Memory(bad=[2, 9])
    with pytest.warns(AnomalyVaeWarning, match="memory: 2 of 11 images cannot be read, such as 2: is torn"):
        batches = list(source.batches(8))
    assert batches[0].faults == [None, None, "is torn", *[None] * 5]
    assert not batches[0].images[2].any()
    assert np.isnan(batches[0].rows()[2]).all()
    assert np.isfinite(batches[0].rows()[3]).all()
    assert [(p.number, p.name, p.text) for p in source.problems] == [(2, "2", "is torn"), (9, "9", "is torn")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(source.batches(8))


def test_rows_are_chosen_by_number_in_any_order_and_more_than_once():
    rows = Memory(bad=[3]).rows([7, -11, 7, 3])
    np.testing.assert_array_equal(rows[:3], IMAGES[[7, 0, 7]].reshape(3, 6))
    assert np.isnan(rows[3]).all()
    assert Memory().rows([]).shape == (0, 6)
    with pytest.raises(IndexError, match="there is no row 11"):
        Memory().rows([11])


def test_a_sample_is_spread_over_the_whole_and_leaves_bad_images_out():
    np.testing.assert_array_equal(Memory().sample(4), IMAGES[[0, 2, 5, 8]].reshape(4, 6))
    np.testing.assert_array_equal(Memory(bad=[5]).sample(4), IMAGES[[0, 2, 8]].reshape(3, 6))
    assert len(Memory().sample(100)) == 11


def test_infinite_values_and_other_sizes_are_faults():
    infinite = IMAGES.astype(float)
    infinite[4, 0, 0] = np.inf
    with pytest.warns(AnomalyVaeWarning, match="such as 4: has an infinite value"):
        list(Memory(images=infinite).batches())
    source = Memory()
    source.shape = ImageShape(height=3, width=2)
    with pytest.warns(AnomalyVaeWarning, match="11 of 11 .* the file has changed"):
        list(source.batches())


def test_a_source_that_ends_early_is_an_error():
    with pytest.raises(InvalidInput, match="memory: ends after 11 of 12 images"):
        list(Memory(length=12).batches())


def test_numbers_are_names():
    names = Numbers(3)
    assert list(names) == ["0", "1", "2"]
    assert names[-1] == "2"
    assert names[1:] == ["1", "2"]
