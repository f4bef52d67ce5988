"""Scored batches on their way to a file."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from anomaly_vae.arrow.results import OUTPUT_SCHEMA, result_columns
from anomaly_vae.batch.scored import OutputOf, ScoredBatch, write_scores
from anomaly_vae.batch.selection import Selection
from anomaly_vae.table import Fault
from tests.support.served import scores_of

FIELDS = pa.schema([OUTPUT_SCHEMA.field(name) for name in ("score", "is_anomaly", "reason")])
FAULTS = [None, Fault("unreadable", "broken"), None, None]


def batch(seed):
    usable = np.array([fault is None for fault in FAULTS])
    scores = scores_of(3, seed=seed)
    return ScoredBatch(result_columns(FIELDS, scores, usable, FAULTS), FAULTS, usable, scores, np.zeros(3, dtype=bool))


def test_batches_are_written_counted_and_shown(tmp_path):
    path, seen, shown = tmp_path / "out.parquet", [], []
    batches = [batch(seed) for seed in range(3)]
    output = OutputOf(str(path), FIELDS, Selection(only_flagged=False, top=None), (0.0, None), True)
    summary = write_scores(batches, output, lambda summary: seen.append(summary.rows), shown.append)
    table = pq.read_table(path)
    expected = [value for each in batches for value in np.insert(each.scores.score, 1, np.nan).tolist()]
    np.testing.assert_array_equal(table["score"].to_numpy(), expected)
    assert table["reason"].to_pylist()[1::4] == ["broken"] * 3
    assert seen == [4, 8, 12]
    assert shown == [each.scores for each in batches]
    flags = sum(int(each.scores.is_anomaly.sum()) for each in batches)
    assert (summary.rows, summary.anomalies, summary.unscored["unreadable"]) == (12, flags, 3)


def test_the_output_opens_before_the_first_batch_is_taken(tmp_path):
    def batches():
        assert list(tmp_path.iterdir()) != []
        yield batch(0)

    output = OutputOf(str(tmp_path / "out.csv"), FIELDS, Selection(only_flagged=False, top=None), (0.0, None), False)
    assert write_scores(batches(), output).anomalies is None
