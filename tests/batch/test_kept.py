"""Columns that are copied to the output, and those that cannot be."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anomaly_vae.batch import score_table
from anomaly_vae.errors import ConfigError, InvalidInput
from anomaly_vae.table import open_table
from tests.support.batches import FakeScorer, scored


@pytest.mark.parametrize(
    ("keep", "error", "message"),
    [
        (["reason"], ConfigError, "--keep reason: the output has a column of that name"),
        (["nothing"], InvalidInput, "--keep nothing: the input has no such column"),
        (["id", "id"], InvalidInput, "--keep id: the column appears more than once"),
        (["twice"], InvalidInput, "--keep twice: the column appears more than once"),
    ],
)
def test_kept_columns_that_cannot_be_kept_are_refused_by_name(tmp_path, keep, error, message):
    text = "id,a,city,reason,twice,twice\n1,2,Oslo,x,1,2\n"
    with pytest.raises(error, match=message):
        scored(tmp_path, text=text, keep=keep)
    assert list(tmp_path.iterdir()) == []


def test_a_kept_list_fits_parquet_and_not_csv(tmp_path):
    source = tmp_path / "in.parquet"
    pq.write_table(pa.table({"a": [1.0], "city": ["Oslo"], "tags": [["x", "y"]]}), source)
    with pytest.raises(InvalidInput, match=r"--keep tags: list<.*> does not fit in CSV; write a \.parquet, "):
        score_table(FakeScorer(), open_table(str(source)), str(tmp_path / "out.csv"), keep=["tags"])
    score_table(FakeScorer(), open_table(str(source)), str(tmp_path / "out.parquet"), keep=["tags"])
    assert pq.read_table(tmp_path / "out.parquet")["tags"].to_pylist() == [["x", "y"]]
