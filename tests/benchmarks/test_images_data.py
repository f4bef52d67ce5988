"""The strange images of the benchmark images."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks import images_data


@pytest.fixture(scope="module")
def digits():
    return images_data.digits()


def test_every_strange_image_differs_from_all_held_out_ones(digits):
    """Turned ones too: digits that look the same when turned are left out. Values stay those of the data."""
    kinds = images_data.strange(digits, 40, seed=0)
    assert {"inverted", "shuffled", "noise", "black", "white", "turned left", "turned right"} < set(kinds)
    assert sum(name.startswith("letters") for name in kinds) >= 2
    held_out = {row.tobytes() for row in digits.held_out}
    for name, kind in kinds.items():
        assert len(kind.rows) == (1 if name in ("black", "white") else 40)
        assert not held_out & {row.tobytes() for row in kind.rows}, name
        assert np.isin(kind.rows, np.arange(digits.top + 1)).all(), name


def test_turned_digits_are_compared_with_others_that_change_when_turned(digits):
    kinds = images_data.strange(digits, 40, seed=0)
    assert set(digits.labels[kinds["turned left"].compared]) == {2, 3, 4, 5, 6, 7, 9}
    assert kinds["inverted"].compared.all()
    first = digits.held_out[kinds["turned left"].compared][0].reshape(8, 8)
    np.testing.assert_array_equal(kinds["turned left"].rows[0].reshape(8, 8), np.rot90(first))
    np.testing.assert_array_equal(kinds["turned right"].rows[0].reshape(8, 8), np.rot90(first, 3))


def test_shuffling_keeps_the_values_of_each_image(digits):
    shuffled = images_data.strange(digits, 40, seed=0)["shuffled"].rows
    chosen = digits.held_out[np.random.default_rng(0).permutation(len(digits.held_out))[:40]]
    np.testing.assert_array_equal(np.sort(shuffled, axis=1), np.sort(chosen, axis=1))


def test_letters_of_all_fonts_have_ink_inside_the_image():
    """No letter is cut off: the borders stay black."""
    for name, font in images_data.letter_fonts().items():
        rows = images_data.letters(font, 52, np.random.default_rng(0), (28, 28), 255).reshape(-1, 28, 28)
        assert (rows.sum(axis=(1, 2)) > 255).all(), name
        edges = np.concatenate([rows[:, [0, -1]].ravel(), rows[:, :, [0, -1]].ravel()])
        assert not edges.any(), name


def test_binarised_images_are_white_from_half_of_the_range_on(digits):
    black_and_white = images_data.binarised(digits)
    np.testing.assert_array_equal(black_and_white.held_out, (digits.held_out > 8).astype(float))
    assert (black_and_white.shape.depth, black_and_white.top) == ("float", 1)
