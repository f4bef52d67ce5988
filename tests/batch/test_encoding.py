"""Latent means with a scorer whose means are known."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from anomaly_vae.batch import encode_table
from anomaly_vae.errors import ConfigError
from tests.support.batches import TEXT, FakeScorer
from tests.support.tables import csv_table


def test_latent_means_are_written_beside_kept_columns(tmp_path):
    path = tmp_path / "out.parquet"
    summary = encode_table(FakeScorer(), csv_table(TEXT), str(path), keep=["id"])
    table = pq.read_table(path)
    assert table.column_names == ["id", "z0", "z1", "z2"]
    assert table["z1"].to_pylist() == [-1.5, None, 3.0, None, None]
    assert table["z2"].to_pylist() == [0.0, None, 1.0, None, -1.0]
    assert summary.unscored.total() == 2
    with pytest.raises(ConfigError, match="--keep z0: the output has a column of that name"):
        encode_table(FakeScorer(), csv_table("a,city,z0\n1,Oslo,2\n"), str(path), keep=["z0"], overwrite=True)
