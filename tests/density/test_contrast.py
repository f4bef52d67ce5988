"""The contrast of rows: the same bits in any batch, and no value that hides an anomaly."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.density.contrast import Contrast
from tests.support.pictures import other_pictures, pictures


@pytest.fixture(scope="module")
def contrast(picture_scorer):
    return picture_scorer._judge.contrast


@pytest.mark.parametrize("batch_invariant", [True, False])
def test_a_row_has_the_same_bits_in_any_batch(contrast, batch_invariant, monkeypatch):
    """Whether or not this machine's onnxruntime is batch-invariant: tiles are of a fixed size where it is not."""
    monkeypatch.setattr(contrast.network, "batch_invariant", batch_invariant and contrast.network.batch_invariant)
    rows = np.concatenate([pictures(1100, seed=1), other_pictures(200, seed=2)])
    rows[::3, 5] = np.nan
    whole = contrast.of_rows(rows)
    for n in (1, 2, 3, 15, 16, 17, 127, 129, 1025):
        np.testing.assert_array_equal(contrast.of_rows(rows[-n:]), whole[-n:])
    order = np.random.default_rng(0).permutation(len(rows))
    np.testing.assert_array_equal(contrast.of_rows(rows[order]), whole[order])
    assert contrast.of_rows(rows[:0]).shape == (0,)


class Broken:
    """A network whose output overflows."""

    batch_invariant = True

    def contrast(self, _x, _mask):
        return np.array([[np.nan], [np.inf], [-np.inf], [2.0]], np.float32)


def test_an_output_that_is_no_number_is_lower_than_every_other(contrast):
    """NaN would rank above all contrasts, and its row would look normal."""
    found = Contrast(Broken(), contrast.features).of_rows(pictures(4))
    assert found.tolist() == [-np.inf, np.inf, -np.inf, 2.0]
