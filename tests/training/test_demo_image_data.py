"""The images of the demo."""

import numpy as np
from sklearn.datasets import load_digits

from anomaly_vae.training.demo_image_data import KINDS, make_images


def test_every_digit_is_in_one_part_and_other_images_are_held_out():
    images = make_images(0)
    kinds = np.array(images.kinds)
    assert images.train.shape == (1437, 8, 8)
    assert images.held_out.shape == (540, 8, 8)
    assert images.train.dtype == images.held_out.dtype == np.uint8
    assert [int((kinds == kind).sum()) for kind in KINDS] == [360, 60, 60, 60]
    digits = images.held_out[kinds == "digit"]
    assert (images.held_out[kinds == "inverted"] == 255 - digits[:60]).all()
    every = np.concatenate([images.train, digits]).reshape(1797, 64)
    expected = np.rint(load_digits().data * 255 / 16)
    assert (np.unique(every, axis=0) == np.unique(expected, axis=0)).all()


def test_letters_have_ink_and_paper():
    letters = make_images(0).held_out[360:420]
    assert (letters.max(axis=(1, 2)) > 170).all()
    assert ((letters == 0).any(axis=(1, 2))).all()
    assert len(np.unique(letters, axis=0)) == 60


def test_the_seed_decides():
    assert (make_images(3).held_out == make_images(3).held_out).all()
    assert not (make_images(3).held_out == make_images(4).held_out).all()
