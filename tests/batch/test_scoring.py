"""Scoring jobs with a scorer whose scores are known: order, nulls, counts, and what is refused before a row is read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from anomaly_vae.batch import FLAG_SCHEMA, OUTPUT_SCHEMA, encode_table, score_table
from anomaly_vae.errors import ConfigError, InvalidInput
from anomaly_vae.score_options import ScoreOptions
from tests.support.batches import FakeScorer, scored
from tests.support.tables import csv_table


def test_every_row_comes_out_in_its_place_with_scores_or_with_a_reason(tmp_path):
    scorer = FakeScorer()
    table, summary = scored(tmp_path, scorer, keep=["id"])
    assert table.schema.equals(pa.schema([("id", pa.string()), *OUTPUT_SCHEMA]))
    assert table["id"].to_pylist() == ["r1", "r2", "r3", "r4", "r5"]
    assert table["log_px"].to_pylist() == [1.5, None, -3.0, None, 0.0]
    assert table["std_error"].to_pylist() == [None, None, 0.25, None, 0.25]  # NaN is never written
    assert table["is_anomaly"].to_pylist() == [False, None, True, None, False]
    assert table["reason"].to_pylist() == [
        None,
        "column 'a': 'high' is not a number",
        None,
        "the row has 2 cells, the header 3",
        "city is new",
    ]
    np.testing.assert_array_equal(scorer.seen[-1], [[0.0, 1.5], [1.0, -3.0], [-1.0, np.nan]])  # the model's order
    assert (summary.rows, summary.anomalies, dict(summary.unscored)) == (5, 1, {"unreadable": 1, "ragged": 1})


def test_options_reach_the_scorer_and_uncalibrated_scores_have_no_flags(tmp_path):
    table, summary = scored(tmp_path, options=ScoreOptions(target_fpr=0.25))
    assert table["p_value"].to_pylist() == [0.25, None, 0.25, None, 0.25]
    with pytest.warns(UserWarning, match="num_samples is 16, the calibration used 64: there is no p-value"):
        table, summary = scored(tmp_path, options=ScoreOptions(num_samples=16), overwrite=True)
    assert table["num_samples"].to_pylist() == [16, None, 16, None, 16]
    assert table["p_value"].null_count == table["is_anomaly"].null_count == 5
    assert summary.anomalies is None


def test_flags_alone_have_their_own_columns(tmp_path):
    table, summary = scored(tmp_path, options=ScoreOptions(flag_only=True, target_fpr=0.5))
    assert table.schema.equals(FLAG_SCHEMA)
    assert table["is_anomaly"].to_pylist() == [False, None, True, None, False]
    assert table["num_samples"].to_pylist() == [16, None, 16, None, 16]
    assert summary.anomalies == 1


def test_wrong_options_and_missing_columns_are_refused_before_a_row_is_read(tmp_path):
    class Unread:
        names, fragments = ("a", "city"), ()

        def schema_of(self, _keep):
            return pa.schema([])

        def batches(self, *_arguments):
            raise AssertionError("a row was read")

    path = tmp_path / "out.csv"
    with pytest.raises(ConfigError, match="num_samples must be one of"):
        score_table(FakeScorer(), Unread(), str(path), options=ScoreOptions(num_samples=17))
    Unread.names = ("a",)
    for job in (score_table, encode_table):
        with pytest.raises(InvalidInput, match="columns are missing: 'city'"):
            job(FakeScorer(), Unread(), str(path))
    assert not path.exists()


@pytest.mark.parametrize("job", [score_table, encode_table])
@pytest.mark.parametrize("text", ["a,city\nhigh,Oslo\n", 'a,city\n1,Oslo\n2,"Rome\n' + f"3,{'Rome' * 250}\n" * 2100])
def test_a_table_that_is_refused_by_its_first_rows_has_no_output(job, text, capfdbinary):
    """Standard output would otherwise hold a header, as if the table had no rows."""
    with pytest.raises(InvalidInput):
        job(FakeScorer(), csv_table(text), "-")
    assert capfdbinary.readouterr().out == b""


def test_progress_is_reported_after_each_batch(tmp_path):
    text = "a,city\n" + "1,Oslo\n" * 2500
    reported = []
    scored(tmp_path, text=text, on_batch=lambda summary: reported.append(summary.rows))
    assert reported[-1] == 2500
    assert len(reported) > 1
    assert reported == sorted(set(reported))


def test_a_model_with_a_contrast_adds_a_column(tmp_path):
    class WithContrast(FakeScorer):
        has_contrast = True

        def score_rows(self, rows, **options):
            return replace(super().score_rows(rows, **options), contrast=rows[:, 1] * 2.0)

    table, _ = scored(tmp_path, WithContrast(), text="a,city\n1,Oslo\nhigh,Rome\n3,Rome\n")
    assert table.column_names == [*OUTPUT_SCHEMA.names, "contrast"]
    assert table["contrast"].to_pylist() == [2.0, None, 6.0]
    flags, _ = scored(tmp_path, WithContrast(), options=ScoreOptions(flag_only=True), overwrite=True)
    assert flags.column_names == FLAG_SCHEMA.names
