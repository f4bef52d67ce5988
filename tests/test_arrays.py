"""The standard normal log-density against scipy, and the numbers of rows against numpy."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from anomaly_vae.arrays import GrowingRows, row_number, row_numbers, standard_normal_log_prob


def test_standard_normal_log_prob_is_scipys_sum_over_the_last_axis():
    z = np.random.default_rng(0).normal(size=(5, 7, 3))
    np.testing.assert_allclose(standard_normal_log_prob(z), norm.logpdf(z).sum(axis=-1), rtol=1e-13)


@pytest.mark.parametrize("key", [0, 8, -1, -9, np.int64(3), np.uint8(4), np.array(5)], ids=repr)
def test_an_integer_is_one_row_as_in_numpy(key):
    assert row_number(key, 9) == np.arange(9)[key]


@pytest.mark.parametrize("key", [True, np.True_, 1.0, "1", None, [1], np.array([1]), np.array(True), (1, 2)], ids=repr)
def test_anything_else_is_no_integer(key):
    assert row_number(key, 9) is None


@pytest.mark.parametrize(
    "key",
    [
        np.arange(9) % 2 == 0,
        [True] + [False] * 8,
        pd.Series(np.arange(9) > 5, index=np.arange(9) * 7),
        [3, -1, 3],
        np.array([0, 8], dtype=np.uint8),
        np.array([-128 + 120, -1], dtype=np.int8),
        (1, 2),
        range(3),
    ],
    ids=repr,
)
def test_masks_and_integers_are_rows_as_in_numpy(key):
    np.testing.assert_array_equal(row_numbers(key, 9), np.arange(9)[np.asarray(key)])


def test_small_integer_types_can_choose_from_many_rows():
    np.testing.assert_array_equal(row_numbers(np.array([-1, 1], dtype=np.int8), 1000), [999, 1])
    np.testing.assert_array_equal(row_numbers(np.array([255], dtype=np.uint8), 1000), [255])


def test_an_empty_list_is_no_rows():
    assert row_numbers([], 9).shape == row_numbers([], 0).shape == row_numbers(np.zeros(0, bool), 0).shape == (0,)


@pytest.mark.parametrize("key", [9, -10, [0, 9], [-10], np.array([2**63], dtype=np.uint64)], ids=repr)
def test_a_row_that_is_not_there_is_named(key):
    number = np.ravel(key)[-1]
    with pytest.raises(IndexError, match=f"^there is no row {number}: there are 9 rows, counted from 0$"):
        row_numbers(key, 9) if np.ndim(key) else row_number(key, 9)


@pytest.mark.parametrize("mask", [[True], np.zeros(10, bool), pd.Series([False] * 8)], ids=len)
def test_a_mask_has_an_entry_per_row(mask):
    with pytest.raises(IndexError, match=f"^the mask has {len(mask)} entries, there are 9 rows$"):
        row_numbers(mask, 9)


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("log_px", "str"),
        (True, "bool"),
        (1.0, "float"),
        (None, "NoneType"),
        ([1.0, 2.0], r"an array of shape \(2,\) and type float64"),
        (np.zeros((9, 2), bool), r"an array of shape \(9, 2\) and type bool"),
        (pd.array([True, None] * 4 + [True], dtype="boolean"), r"an array of shape \(9,\) and type object"),
    ],
    ids=str,
)
def test_other_keys_are_refused_with_what_to_write(key, found):
    with pytest.raises(TypeError, match=f"not by {found}; fields are attributes, such as scores.log_px"):
        row_numbers(key, 9)


def test_growing_rows_are_the_parts_in_order():
    """Also beyond the first block, and when a part is larger than the growth."""
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(n, 3)) for n in (0, 5, 4096, 1, 20_000, 7)]
    rows = GrowingRows(3)
    for part in parts:
        rows.append(part)
    np.testing.assert_array_equal(rows.finished(), np.concatenate(parts))


def test_growing_rows_may_stay_empty():
    assert GrowingRows(4).finished().shape == (0, 4)
