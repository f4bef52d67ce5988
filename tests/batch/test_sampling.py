"""Synthetic rows with a scorer whose samples are known."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq

from anomaly_vae.batch import sample_table
from tests.support.batches import FakeScorer


def test_samples_are_written_in_blocks_of_different_seeds_with_texts(tmp_path):
    """Blocks with the same seed would repeat the same rows."""
    path, done = tmp_path / "out.parquet", []
    sample_table(FakeScorer(), str(path), 40_000, 2**32 - 1, on_rows=done.append)
    table = pq.read_table(path)
    assert table.column_names == ["city", "a"]
    assert table["city"].to_pylist()[:3] == ["Oslo", "Rome", "Oslo"]
    seeds, counts = np.unique(table["a"].to_numpy(), return_counts=True)
    assert (sum(done), len(done), len(table)) == (40_000, 3, 40_000)
    assert sorted(counts) == sorted(done)
    assert seeds.min() >= 0
    assert seeds.max() == 2**32 - 1  # the first block has the given seed
