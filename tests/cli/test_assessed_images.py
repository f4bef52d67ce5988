"""Images to assess: which are read, and their labels."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.cli.assessed_images import labelled_images, read_images
from anomaly_vae.errors import AnomalyVaeWarning, InvalidInput
from tests.support.assessed import PlainImages


def test_images_that_cannot_be_read_are_left_out_with_a_warning():
    with pytest.warns(AnomalyVaeWarning, match="photos: 2 of 300 images cannot be read, such as 0: is empty"):
        found = read_images(PlainImages(300, bad=(0, 270)), quiet=True)
    assert (len(found.rows), found.left_out, found.labels.any()) == (298, 2, False)
    assert found.numbers.tolist() == [*range(2, 271), *range(272, 301)]
    np.testing.assert_array_equal(found.rows[:, 0], (found.numbers - 1) % 256)
    assert (found.names[0], found.names[-1]) == ("1", "299")
    with pytest.warns(AnomalyVaeWarning), pytest.raises(InvalidInput, match="photos: no image can be used"):
        read_images(PlainImages(1, bad=(0,)), quiet=True)


def test_anomalous_images_follow_the_normal_ones():
    with pytest.warns(AnomalyVaeWarning):
        found = labelled_images(PlainImages(3, bad=(1,)), PlainImages(2), quiet=True)
    assert found.labels.tolist() == [False, False, True, True]
    assert found.numbers.tolist() == [1, 3, 4, 5]
    assert found.rows[:, 0].tolist() == [0.0, 2.0, 0.0, 1.0]
    assert found.left_out == 1
