"""Counts along the input order."""

from __future__ import annotations

import json

import numpy as np
import pytest

from anomaly_vae.batch.order_counts import OrderCounts

MARKED = np.random.default_rng(0).random(5_000) < 0.2


def counted(marked, size):
    found = OrderCounts()
    for start in range(0, len(marked), size):
        found.add(marked[start : start + size], start + 1)
    return found


@pytest.mark.parametrize("size", [1, 7, 1_024, 5_000])
def test_the_counts_are_those_of_parts_of_equal_length_however_the_rows_come(size):
    found = counted(MARKED, size)
    assert found.rows_per_part == 32, "the smallest power of two with at most 200 parts"
    expected = np.add.reduceat(MARKED.astype(int), np.arange(0, 5_000, 32))
    np.testing.assert_array_equal(found.counts[: len(expected)], expected)
    assert found.counts.sum() == MARKED.sum()


def test_parts_of_one_row_merge_only_when_they_are_full():
    assert [counted(MARKED[:n], 50).rows_per_part for n in (199, 200, 201, 400, 401)] == [1, 1, 2, 2, 4]


def test_a_state_goes_through_json():
    first, second = counted(MARKED[:3_000], 100), OrderCounts()
    second.restore(json.loads(json.dumps(first.state())))
    second.add(MARKED[3_000:], 3_001)
    whole = counted(MARKED, 5_000)
    assert second.state() == whole.state()
