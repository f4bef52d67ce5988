"""The split of a table into rows that fit a model and rows that calibrate it."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.columns.split import split_of, split_rows


@pytest.mark.parametrize("n", [10, 13, 59, 1000, 500_000])
def test_the_split_uses_every_row_once(n):
    split = split_rows(n, np.random.default_rng(0))
    together = np.concatenate([split.train, split.held_out, split.calibration])
    np.testing.assert_array_equal(np.sort(together), np.arange(n))
    assert len(split.calibration) == min(20_000, round(0.2 * n))
    assert len(split.held_out) >= 1


def test_the_split_of_a_run_depends_on_its_seed_alone():
    one, again, other = split_of(100, 7), split_of(100, 7), split_of(100, 8)
    np.testing.assert_array_equal(one.train, again.train)
    np.testing.assert_array_equal(one.calibration, again.calibration)
    assert one.train.tolist() != other.train.tolist()


def test_the_split_is_not_the_shuffle_of_a_caller_with_the_same_seed():
    """Who shuffled the rows with this seed would otherwise get the calibration rows in their order back."""
    order = np.random.default_rng(7).permutation(100)
    assert split_of(100, 7).calibration.tolist() != order[:20].tolist()
