"""What a report keeps of its input."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from anomaly_vae.cli import report_rows
from anomaly_vae.cli.image_options import ImageOptions
from anomaly_vae.cli.model_input import ModelInput
from anomaly_vae.cli.report_rows import _apart, find_rows
from anomaly_vae.table import Batch, ReadOptions
from tests.support.command_line import write_csv
from tests.support.data import make_rows


@pytest.fixture
def found(scorer, tmp_path):
    rows = make_rows(200, seed=8)
    rows[150, 1] += 5.0
    write_csv(tmp_path / "in.csv", rows)
    given = ModelInput(str(tmp_path / "in.csv"), ReadOptions(), (), ImageOptions("auto", None, None))
    return find_rows(scorer, given, 7, quiet=True), scorer.score(rows), rows


def test_all_rows_are_counted(found):
    got, scores, _ = found
    assert (got.num_scored, got.summary.rows) == (200, 200)
    assert got.num_reliable == scores.reliable.sum()
    assert got.summary.anomalies == scores.is_anomaly.sum() > 0
    edges = np.arange(21) / 20
    expected = [
        ((low + 1e-9 < scores.p_value) & (scores.p_value <= high + 1e-9)).sum() for low, high in pairwise(edges)
    ]
    np.testing.assert_array_equal(got.p_counts, expected)


def test_a_p_value_on_a_border_belongs_to_the_part_that_ends_there(scorer, monkeypatch):
    """With 99 calibration rows, all of the 100 possible p-values together fill the 20 parts evenly."""
    scores = scorer.score(make_rows(100, seed=1))
    even = type(scores)(**{**vars(scores), "p_value": np.arange(1, 101) / 100})
    monkeypatch.setattr(type(scorer), "score_rows", lambda *_: even)
    collected = report_rows._Collector(scorer, 1)
    collected.add(np.arange(100), make_rows(100, seed=1))
    np.testing.assert_array_equal(collected.p_counts, np.full(20, 5))


def test_the_worst_rows_are_those_with_the_lowest_scores(found):
    got, scores, rows = found
    lowest = np.argsort(scores.score, kind="stable")[:7]
    np.testing.assert_array_equal(got.worst.numbers, lowest)
    np.testing.assert_array_equal(got.worst.rows, rows[lowest])
    np.testing.assert_array_equal(got.worst.scores.score, scores.score[lowest])
    assert got.names[0] == "151"


def test_the_sample_is_of_all_rows_and_the_same_every_time(found, scorer, monkeypatch):
    got, _, rows = found
    assert len(got.sample) == 200
    monkeypatch.setattr(report_rows, "_MAP_ROWS", 20)
    samples = []
    for _ in range(2):
        collected = report_rows._Collector(scorer, 1)
        for start in range(0, 200, 50):
            collected.add(np.arange(start, start + 50), rows[start : start + 50])
        samples.append(collected.found(1, 1, lambda numbers: [str(each) for each in numbers]).sample)
    np.testing.assert_array_equal(samples[0].numbers, samples[1].numbers)
    assert len(np.unique(samples[0].numbers)) == 20
    assert len(set((samples[0].numbers // 50).tolist())) == 4
    np.testing.assert_array_equal(samples[0].rows, scorer.encode_rows(rows[samples[0].numbers]))
    np.testing.assert_array_equal(samples[0].scores.score, scorer.score_rows(rows[samples[0].numbers]).score)


def test_windows_that_share_steps_count_once():
    assert _apart(np.array([10, 11, 3, 18, 17, 30]), 8).tolist() == [0, 3, 5]
    assert _apart(np.array([5, 6]), 1).tolist() == [0, 1]


def test_no_rows_are_a_result_too(scorer):
    got = report_rows._Collector(scorer, 5).found(5, 1, lambda _: [])
    assert (got.num_scored, len(got.worst), len(got.sample), got.names) == (0, 0, 0, [])


def test_only_texts_of_the_worst_rows_are_kept(scorer):
    rows = make_rows(40, seed=8)
    rows[[3, 25], 1] += [5.0, 9.0]
    collected = report_rows._Collector(scorer, 1)
    for start in (0, 20):
        numbers = np.arange(start, start + 20)
        collected.add(numbers, rows[numbers])
        kept = pa.record_batch({"city": [f"c{number}" for number in numbers]})
        collected.add_texts(start, Batch(rows[numbers], [None] * 20, kept))
        assert len(collected._texts) == 1
    assert collected.found(1, 1, lambda numbers: [str(each) for each in numbers]).texts == [{"city": "c25"}]
