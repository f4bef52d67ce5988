"""Messages arrive as they were sent."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from anomaly_vae.arrow.results import FLAG_SCHEMA, OUTPUT_SCHEMA, result_columns
from anomaly_vae.arrow.scoring import score_by
from anomaly_vae.batch.cluster.messages import Message, packed, unpacked
from anomaly_vae.batch.explaining import ToExplain
from anomaly_vae.batch.scored import ScoredBatch
from anomaly_vae.errors import InvalidInput
from anomaly_vae.score_options import ScoreOptions
from anomaly_vae.table import Fault
from tests.support.data import make_rows


@pytest.mark.parametrize("bad", [[], [0, 3]])
@pytest.mark.parametrize(
    ("options", "results"),
    [
        (ScoreOptions(), OUTPUT_SCHEMA),
        (ScoreOptions(num_samples=64), OUTPUT_SCHEMA),  # no p-values and no flags
        (ScoreOptions(flag_only=True), FLAG_SCHEMA),
    ],
)
def test_scored_rows_are_the_same(scorer, options, results, bad):
    rows = make_rows(6, seed=3)
    rows[1, 4] = 8.0  # which gets a reason
    faults = [Fault("unreadable", f"row {i}") if i in bad else None for i in range(6)]
    usable = np.array([fault is None for fault in faults])
    scores = replace(score_by(scorer, rows[usable], options), bundle_digest="abc")
    kept = pa.array([f"k{i}" for i in range(9)]).slice(2, 6)
    columns = [kept, *result_columns(results, scores, usable, faults)]
    lowest = np.arange(usable.sum()) == 1
    explained = ToExplain(lowest, rows[usable][lowest], pa.record_batch({"t": ["x"]}))
    sent = ScoredBatch(columns, faults, usable, scores, lowest, explained, 4)
    schema = pa.schema([("kept", pa.string()), *results])
    found = unpacked(packed(Message(4, sent, seconds=1.5), schema), results.names)
    assert (found.fragment, found.error, found.left_out, found.seconds) == (4, None, None, 1.5)
    got = found.rows
    assert (got.columns, got.faults, got.fragment) == (columns, faults, 4)
    np.testing.assert_array_equal(got.usable, usable)
    np.testing.assert_array_equal(got.ranks_lowest, lowest)
    np.testing.assert_array_equal(got.explained.rows, explained.rows)
    assert type(got.scores) is type(scores)
    for name, values in vars(scores).items():
        value = getattr(got.scores, name)
        np.testing.assert_array_equal(value, values, err_msg=name)
        assert getattr(value, "dtype", None) == getattr(values, "dtype", None)


def test_the_end_says_why():
    found = unpacked(packed(Message(2, error=InvalidInput("a: damaged", field="x")), OUTPUT_SCHEMA), [])
    assert (found.fragment, found.rows, str(found.error), found.error.field) == (2, None, "a: damaged", "x")
    assert unpacked(packed(Message(1, left_out="why"), OUTPUT_SCHEMA), []) == Message(1, left_out="why")
