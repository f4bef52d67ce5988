"""Scores of the rows of series with a scorer whose scores are known."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from anomaly_vae.batch import OUTPUT_SCHEMA, Explaining, read_series, score_series, series_scoring
from anomaly_vae.batch.series_input import SeriesInput
from anomaly_vae.columns.schema import Column
from anomaly_vae.errors import ConfigError
from anomaly_vae.score_options import ScoreOptions
from tests.support.shaped_scorers import SumScorer
from tests.support.tables import csv_table
from tests.support.windows import window_schema

SCHEMA = window_schema(2, ("a",), series="host")

# Rows 1 and 2 are first steps, row 5 cannot be read, and row 6 has a window with a missing cell.
TEXT = "host,a,id\nx,1,r1\ny,-7,r2\nx,2,r3\ny,3,r4\nx,high,r5\nx,-1,r6\ny,1.5,r7\n"


def scored(tmp_path, text=TEXT, schema=SCHEMA, keep=(), **options):
    path, scorer = tmp_path / "out.parquet", SumScorer(schema)
    series = read_series(csv_table(text), schema, str(path), keep)
    summary, scores = score_series(scorer, series, str(path), overwrite=True, **options)
    return pq.read_table(path), summary, scores


def test_every_row_comes_out_in_its_place_with_the_score_of_its_window_or_a_reason(tmp_path):
    table, summary, scores = scored(tmp_path, keep=["id", "host"])
    assert table.column_names == ["id", "host", *OUTPUT_SCHEMA.names, "step_score"]
    assert table["id"].to_pylist() == [f"r{i}" for i in range(1, 8)]
    assert table["log_px"].to_pylist() == [None, None, 3.0, -4.0, None, -1.0, 4.5]
    assert table["step_score"].to_pylist() == [3.0, -4.0, 3.0, -4.0, -1.0, -1.0, 4.5]
    assert table["is_anomaly"].to_pylist() == [None, None, False, True, None, True, False]
    assert table["num_samples"].to_pylist() == [None, None, 64, 64, None, 64, 64]
    first = "warm-up: the first 1 steps of a series have no full window"
    assert table["reason"].to_pylist() == [first, first, None, "low", "column 'a': 'high' is not a number", "low", None]
    assert (summary.rows, summary.anomalies, summary.written) == (7, 2, None)
    assert dict(summary.unscored) == {"warm-up": 2, "unreadable": 1}
    assert summary.examples["unreadable"].startswith("row 5: ")
    assert summary.most_anomalous_row == 4
    np.testing.assert_array_equal(scores.has_window, [False, False, True, True, False, True, True])


def test_flagged_rows_and_the_top_rows(tmp_path):
    table, summary, _ = scored(tmp_path, keep=["id"], only_flagged=True)
    assert table.column_names[:2] == ["row", "id"]
    assert table["row"].to_pylist() == [4, 6]
    assert (summary.written, summary.anomalies) == (2, 2)
    table, _, _ = scored(tmp_path, top=3)
    assert table["row"].to_pylist() == [4, 6, 3]
    assert table["step_score"].to_pylist() == [-4.0, -1.0, 3.0]


def test_windows_that_rank_below_all_others_come_first(tmp_path):
    """A cell that was constant in training has another value in the windows that end at rows 7 and 8."""
    first, last = SCHEMA.columns
    constant = Column(name=first.name, kind="constant", value=1.0)
    schema = type(SCHEMA)(columns=(constant, last), shape=window_schema(2, ("a",)).shape)
    text = "a\n" + "1\n" * 5 + "-5\n9\n1\n"
    table, summary, _ = scored(tmp_path, text=text, schema=schema, top=3)
    assert table["row"].to_pylist() == [7, 8, 6]
    assert summary.most_anomalous_row == 7


def test_rows_are_written_in_parts(tmp_path, monkeypatch):
    whole, summary, _ = scored(tmp_path, keep=["id"])
    monkeypatch.setattr(series_scoring, "_ROWS_AT_ONCE", 2)
    parts, same, _ = scored(tmp_path, keep=["id"])
    assert parts.equals(whole)
    assert same == summary


def test_options_reach_the_scorer_and_uncalibrated_scores_have_no_flags(tmp_path):
    table, _, _ = scored(tmp_path, options=ScoreOptions(target_fpr=0.25))
    assert table["p_value"].to_pylist()[2] == 0.25
    with pytest.warns(UserWarning, match="there is no p-value"):
        table, summary, _ = scored(tmp_path, options=ScoreOptions(max_std_error=0.5))
    assert table["p_value"].null_count == table["is_anomaly"].null_count == 7
    assert summary.anomalies is None


def test_a_table_without_rows_is_an_output_without_rows(tmp_path):
    table, summary, _ = scored(tmp_path, text="host,a\n")
    assert (len(table), summary.rows, summary.most_anomalous_row) == (0, 0, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"options": ScoreOptions(flag_only=True)}, "flag_only is for rows of a table and for images"),
        ({"options": ScoreOptions(num_samples=17)}, "num_samples must be 64"),
        ({"keep": ["step_score"]}, "--keep step_score: the output has a column of that name"),
        ({"keep": ["row"], "top": 1}, "--keep row: the output has a column of that name"),
    ],
)
def test_wrong_options_are_refused_before_the_output_opens(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        scored(tmp_path, text="host,a,step_score,row\nx,1,2,3\n", **options)
    assert not (tmp_path / "out.parquet").exists()


def test_an_output_that_cannot_be_written_fails_before_a_window_is_scored(tmp_path):
    (tmp_path / "out.csv").write_text("theirs")
    scorer = SumScorer(SCHEMA)
    with pytest.raises(ConfigError, match="exists already"):
        score_series(scorer, read_series(csv_table(TEXT), SCHEMA, "-"), str(tmp_path / "out.csv"))
    assert [len(rows) for rows in scorer.seen] == [0]


def test_few_windows_to_explain_are_in_memory_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(series_scoring, "_CELLS_AT_ONCE", 2 * SCHEMA.shape.num_cells)
    asked, windows_at = [], SeriesInput.windows_at
    monkeypatch.setattr(SeriesInput, "windows_at", lambda self, rows: asked.append(len(rows)) or windows_at(self, rows))
    table, _, _ = scored(tmp_path, explaining=Explaining(top=1, every=True))
    assert max(asked) == 2
    assert sum(asked) == len(table) - table["why_1"].null_count == 4


def test_the_windows_of_flagged_rows_are_explained_in_their_places(tmp_path, monkeypatch):
    """Also if the rows are written in parts, and only the lowest rows, which are held until the end."""
    monkeypatch.setattr(series_scoring, "_ROWS_AT_ONCE", 4)
    seen, explaining = [], Explaining(top=2)
    table, _, _ = scored(tmp_path, explaining=explaining, on_batch=lambda summary: seen.append(summary.explained))
    texts = [f"sum {total}: expected another value given the rest (1 nats)" for total in (-4, -1)]
    assert table["why_1"].to_pylist() == [None, None, None, texts[0], None, texts[1], None]
    assert table["why_2"].null_count == 7
    assert max(seen) == 2
    table, _, _ = scored(tmp_path, explaining=explaining, top=2)
    assert table["why_1"].to_pylist() == texts
    with pytest.raises(ConfigError, match="--keep why_1"):
        scored(tmp_path, "host,a,why_1\nx,1,2\n", keep=["why_1"], explaining=explaining)
