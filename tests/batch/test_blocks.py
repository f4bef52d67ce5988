"""Batches become blocks: no row is lost, and no block has rows of two files."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_vae.batch import blocks as blocks_module
from anomaly_vae.batch.blocks import BlockSize, blocks, most_rows, resident_bytes
from anomaly_vae.errors import ConfigError
from anomaly_vae.table import Batch, Fault


def batch(start, rows, fragment=0, *, keeps=True):
    numbers = np.arange(start, start + rows)
    faults = [Fault("unreadable", str(i)) if i % 3 == 0 else None for i in numbers]
    kept = pa.RecordBatch.from_pydict({"id": pa.array([f"r{i % 5}" for i in numbers], pa.string()).dictionary_encode()})
    return Batch(numbers[:, None] * 1.0, faults, kept if keeps else kept.select([]), fragment)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2)), max_size=8), st.integers(1, 60), st.booleans())
def test_rows_stay_in_order_with_their_faults_and_kept_cells(sizes, most, keeps):
    batches, start, fragment = [], 0, 0
    for rows, step in sizes:
        fragment += step
        batches.append(batch(start, rows, fragment, keeps=keeps))
        start += rows
    found = list(blocks(iter(batches), BlockSize(most)))
    assert all(len(each.faults) <= most for each in found)
    numbers = [int(row[0]) for each in found for row in each.rows]
    assert numbers == list(range(start))
    assert [fault and fault.text for each in found for fault in each.faults] == [
        str(i) if i % 3 == 0 else None for i in numbers
    ]
    owner = [each.fragment for each in batches for _ in each.faults]
    assert [each.fragment for each in found for _ in each.faults] == owner
    if keeps:
        assert [value for each in found for value in each.kept["id"].to_pylist()] == [f"r{i % 5}" for i in numbers]


def test_blocks_grow_while_they_are_fast_and_shrink_when_they_are_slow():
    size = BlockSize()
    rows = [size.rows]
    for seconds in (0.01, 0.3, 0.3, 0.01, 0.01):
        size.note(size.rows, seconds)
        rows.append(size.rows)
    assert rows == [1024, 4096, 8192, 16384, 65536, 65536]
    size.note(10, 0.01)  # a short block says nothing about a full one
    size.note(size.rows, 1.0)
    assert size.rows == 65536
    for _ in range(20):
        size.note(size.rows, 10.0)
    assert size.rows == 64


def test_memory_bounds_the_rows_of_a_block():
    assert most_rows(None, 30) == 65_536
    assert most_rows(None, 10_000) == 419
    assert most_rows(None, 10**9) == 64
    taken = resident_bytes() + blocks_module._BYTES_TO_SCORE
    assert 64 <= most_rows(taken + 20_000_000, 30) < most_rows(taken + 200_000_000, 30) < 65_536
    with pytest.raises(ConfigError, match=r"--memory: 1 MB is too little: the program takes [0-9,]+ MB with"):
        most_rows(1_000_000, 30)
