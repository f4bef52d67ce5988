"""Blocks of rows cover all rows once, in order, whatever threads do."""

from __future__ import annotations

import threading

import pytest

from anomaly_vae.density.blocks import default_threads, map_blocks


@pytest.mark.parametrize("num_rows", [0, 1, 63, 64, 65, 1000, 5000])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_blocks_cover_the_rows_in_order(num_rows, threads):
    counted = []
    blocks = map_blocks(lambda block: block, num_rows, threads, counted.append)
    assert [row for block in blocks for row in range(block.start, block.stop)] == list(range(num_rows))
    assert counted == [block.stop - block.start for block in blocks]
    assert all(64 <= size <= 1024 for size in counted[:-1])


def test_threads_work_at_the_same_time():
    both = threading.Barrier(2, timeout=60)
    assert len(map_blocks(lambda block: both.wait() and None, 128, 2)) == 2


def test_the_cores_of_this_process_are_counted():
    assert default_threads() >= 1
