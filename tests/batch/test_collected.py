"""What a report of a batch job shows, collected while rows are scored."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from anomaly_vae.arrow.results import FLAG_SCHEMA, OUTPUT_SCHEMA, result_columns
from anomaly_vae.batch.collected import Collector, score_edges
from anomaly_vae.batch.scored import ScoredBatch
from anomaly_vae.scores import Flags, Scores
from anomaly_vae.table import Fault
from tests.support.batches import SCHEMA

OUTPUT = pa.schema([("id", pa.string()), *OUTPUT_SCHEMA])
THRESHOLDS = (-1.5, None)


def batch(n, seed, first=1, flags_only=False):
    """Every tenth row is unreadable; scores are normal, p-values multiples of 1 / 1000; every 100th row is novel."""
    rng = np.random.default_rng(seed)
    faults = [Fault("unreadable", "x" * 500) if i % 10 == 0 else None for i in range(n)]
    usable = np.array([fault is None for fault in faults])
    m = int(usable.sum())
    score = rng.normal(size=m)
    score[::100] = -np.inf
    rest = {"num_samples": np.full(m, 64), "reason": [None] * m}
    if flags_only:
        scores, schema = Flags(is_anomaly=score < -1.5, **rest), FLAG_SCHEMA
    else:
        fields = dict.fromkeys(("log_px", "score", "elbo", "std_error", "ess_ratio", "pareto_k"), score)
        scores = Scores(
            **fields,
            **rest,
            reliable=np.ones(m, dtype=bool),
            p_value=np.clip(rng.integers(1, 1001, m) / 1000.0, 0.0, 1.0),
            is_anomaly=score < -1.5,
        )
        schema = OUTPUT_SCHEMA
    ids = pa.array([f"r{first + i}" for i in range(n)])
    inputs = np.column_stack([rng.integers(-1, 2, m), score])
    columns = [ids, *result_columns(schema, scores, usable, faults)]
    return ScoredBatch(columns, faults, usable, scores, np.isneginf(score), inputs=inputs)


def batches(count=6, n=300, **options):
    return [(batch(n, seed, 1 + n * seed, **options), 1 + n * seed) for seed in range(count)]


def collected(given, collector=None, **options):
    collector = collector or Collector(SCHEMA)
    collector.begin(OUTPUT, THRESHOLDS, **options)
    for each, first_row in given:
        collector.add(each, first_row)
    return collector


def test_counts_are_those_of_the_rows():
    given = batches()
    found = collected(given)
    scores = np.concatenate([each.scores.score for each, _ in given])
    p_values = np.concatenate([each.scores.p_value for each, _ in given])
    assert (found.num_scored, found.num_samples) == (len(scores), 64 * len(scores))
    assert found.num_flagged == int((scores < -1.5).sum()) == found.flagged_in_order.counts.sum()
    assert found.scored_in_order.counts.sum() == len(scores)
    assert found.unscored["unreadable"]["rows"] == 180
    names = [text.partition(":")[0] for text in found.unscored["unreadable"]["examples"]]
    assert names == ["row 1", "row 11", "row 21", "row 31", "row 41"]
    assert max(map(len, found.unscored["unreadable"]["examples"])) == 200
    assert found.score_counts.sum() == len(scores)
    assert found.score_counts[: int(np.searchsorted(found.edges, -1.5, side="right"))].sum() == (scores < -1.5).sum()
    expected = [np.sum(p_values <= k / 1000.0 + 1e-9) for k in range(1, 1001)]
    np.testing.assert_array_equal(np.cumsum(found.p_counts), expected)


def test_the_most_anomalous_rows_have_their_cells():
    found = collected(batches())
    for row in found.most.rows:
        cells = dict(row.cells)
        assert cells["id"] == f"r{row.number}"
        assert cells["city"] in ("Oslo", "Rome", "a new value")
        assert cells["a"] == (row.score if np.isfinite(row.score) else "-inf")
        assert row.is_anomaly == (row.score < -1.5)


@pytest.mark.parametrize("options", [{}, {"decides_later": True}, {"flags_only": True}])
def test_a_job_that_goes_on_in_another_process_ends_with_the_same_state(options):
    """The state goes through JSON, and holds everything: the rest of the job does not see the difference."""
    later = {"decides_later": True} if "decides_later" in options else {}
    given = batches(flags_only=options.get("flags_only", False))
    whole, first = collected(given, **later), collected(given[:2], **later)
    second = Collector(SCHEMA)
    second.restore(json.loads(json.dumps(first.state(), allow_nan=False)))
    collected(given[2:], second, **later)
    if later:
        for each in (whole, second):
            for part, first_row in given:
                each.decided(part.scores.score < 0.0, part.usable, first_row)
    assert second.state() == whole.state()
    assert len(json.dumps(second.state())) < 100_000


def test_a_state_does_not_change_with_the_collector():
    found = collected(batches(1))
    before = json.dumps(state := found.state())
    collected(batches()[1:], found)
    assert json.dumps(state) == before


def test_flags_that_are_decided_later_count_alone_and_once():
    """A decision that is broken off and made again starts at row 1, so it does not count twice."""
    given = batches()
    found = collected(given, decides_later=True)
    assert (found.num_flagged, found.most.rows[0].is_anomaly) == (None, None)
    found.decided(np.ones(270, dtype=bool), given[0][0].usable, 1)
    for each, first_row in given:
        found.decided(each.scores.score < 0.5, each.usable, first_row)
    expected = sum(int((each.scores.score < 0.5).sum()) for each, _ in given)
    assert found.num_flagged == found.flagged_in_order.counts.sum() == expected
    assert all(row.is_anomaly == (row.score < 0.5) for row in found.most.rows)


def test_flags_alone_give_no_scores():
    found = collected(batches(flags_only=True))
    assert (found.edges, found.p_counts, found.most.rows) == (None, None, [])
    assert found.num_flagged is not None
    assert found.num_flagged > 0


def test_the_threshold_is_between_two_bars_and_outliers_do_not_stretch_them():
    scores = np.concatenate([np.random.default_rng(0).normal(size=5_000), [-1e6, -np.inf]])
    for thresholds in ((-2.0, None), (-2.0, 2.5), (-9.0, None)):
        edges = score_edges(scores, thresholds)
        assert np.isclose(edges, thresholds[0]).any()
        assert edges[0] > -12.0
        assert edges[-1] >= (thresholds[1] or 0.0)
        assert 30 < len(edges) < 60
    assert (np.diff(score_edges(np.empty(0), (1.0, None))) > 0).all()


def test_a_job_without_rows_has_an_empty_state():
    assert collected([]).state() == Collector(SCHEMA).state()
