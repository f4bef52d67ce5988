"""The engine of this process: blocks of a table in their order."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.csv

from anomaly_vae.arrow.results import FLAG_SCHEMA
from anomaly_vae.batch.blocks import BlockSize
from anomaly_vae.batch.engine import Job, score_locally
from anomaly_vae.score_options import ScoreOptions
from anomaly_vae.table import open_table
from tests.support.data import NAMES, make_rows


def test_rows_come_in_order_from_where_they_are_asked_for(tmp_path, scorer):
    for i in range(2):
        pa.csv.write_csv(pa.table(list(make_rows(20, seed=i).T), names=list(NAMES)), tmp_path / f"{i}.csv")
    job = Job(scorer, ScoreOptions(flag_only=True), FLAG_SCHEMA, ["flow"], ["flow", "unit"], None, BlockSize(8))
    assert job.needed == ["flow", "unit"]
    with score_locally(job, open_table(str(tmp_path)), (0, 0)) as batches:
        found = list(batches)
    assert [(each.fragment, len(each.usable)) for each in found] == [(0, 8), (0, 8), (0, 4), (1, 8), (1, 8), (1, 4)]
    with score_locally(job, open_table(str(tmp_path)), (1, 8)) as batches:
        rest = list(batches)
    assert [each.columns for each in rest] == [each.columns for each in found[4:]]
