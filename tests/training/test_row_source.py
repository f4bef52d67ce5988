"""Rows that are read when they are needed give what rows in memory give."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_vae.columns.split import MOST_SET_ASIDE, split_of
from anomaly_vae.training import row_source
from anomaly_vae.training.row_source import (
    LazyRows,
    evenly,
    is_small,
    most_set_aside,
    parts_of,
    read_if_small,
    typical,
)


class Counting:
    """A source of numbered rows that remembers what was read; rows with a number in ``bad`` cannot be read."""

    num_cells = 3

    def __init__(self, num_rows, bad=()):
        self.num_rows, self.bad, self.read = num_rows, bad, []

    def __len__(self):
        return self.num_rows

    def take(self, numbers):
        self.read += numbers.tolist()
        rows = np.repeat(numbers[:, None].astype(np.float64), 3, axis=1)
        rows[np.isin(numbers, self.bad)] = np.nan
        return rows


@pytest.fixture
def tiny(monkeypatch):
    """Limits that rows of a test exceed: 8 bytes a cell, 3 cells a row."""
    monkeypatch.setattr(row_source, "MOST_BYTES", 24 * 50)
    monkeypatch.setattr(row_source, "_SET_ASIDE_BYTES", 24 * 7)
    monkeypatch.setattr(row_source, "_SAMPLE_BYTES", 24 * 10)


def test_a_small_source_is_read_at_once_and_a_large_one_is_not(tiny):
    assert is_small(Counting(50))
    np.testing.assert_array_equal(read_if_small(Counting(50))[:, 1], np.arange(50))
    large = Counting(51)
    assert read_if_small(large) is large
    assert large.read == []


def test_the_parts_of_a_large_source_are_bounded_and_its_training_rows_stay_there(tiny):
    source = Counting(1000)
    most = most_set_aside(source)
    assert most == 7
    split = split_of(len(source), 0, most)
    parts = parts_of(source, split)
    np.testing.assert_array_equal(parts.held_out[:, 0], split.held_out)
    np.testing.assert_array_equal(parts.calibration[:, 0], split.calibration)
    assert (len(parts.held_out), len(parts.calibration), len(parts.train)) == (7, 7, 986)
    assert len(source.read) == 14
    np.testing.assert_array_equal(parts.train.take(np.array([5, 2]))[:, 0], split.train[[5, 2]])
    assert typical(parts.train).shape == (10, 3)
    assert parts.train.nbytes == 986 * 24


def test_rows_in_memory_are_split_as_before(tiny):
    rows = np.arange(300.0).reshape(100, 3)
    assert most_set_aside(rows) == MOST_SET_ASIDE
    split = split_of(100, 0)
    parts = parts_of(rows, split)
    for part, numbers in zip(parts, (split.train, split.held_out, split.calibration), strict=True):
        np.testing.assert_array_equal(part, rows[numbers])
    assert typical(parts.train) is parts.train


def test_rows_that_cannot_be_read_are_left_out(tiny):
    rows = LazyRows(Counting(20, bad=(3, 4)), np.arange(20))
    np.testing.assert_array_equal(rows.take(np.array([4, 5, 3, 6]))[:, 0], [5, 6])
    assert not np.isnan(typical(rows)).any()


@pytest.mark.parametrize(("num_rows", "most"), [(0, 5), (1, 5), (5, 5), (7, 5), (1000, 5)])
def test_evenly_spread_rows_are_different_and_in_order(num_rows, most):
    found = evenly(num_rows, most)
    assert len(found) == min(num_rows, most)
    assert (np.diff(found) > 0).all()
    assert num_rows == 0 or (found[0] == 0 and found[-1] < num_rows)
