"""Batch jobs with a scorer whose scores are known: order, nulls, counts, and what is refused before a row is read."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anomaly_vae.batch import (
    FLAG_SCHEMA,
    OUTPUT_SCHEMA,
    ScoreSummary,
    encode_table,
    read_usable,
    sample_table,
    score_table,
)
from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.errors import ConfigError, InvalidInput
from anomaly_vae.score_options import ScoreOptions
from anomaly_vae.scores import Flags, Scores
from anomaly_vae.table import CodeBook, open_table
from tests.support.tables import csv_table

# Row 2 is unreadable, row 4 is ragged, row 5 has a missing cell and a new city.
TEXT = "id,a,city\nr1,1.5,Oslo\nr2,high,Rome\nr3,-3,Rome\nr4,4\nr5,,Bonn\n"
SCHEMA = Schema(
    columns=(
        Column(name="city", kind="categorical", categories=("Oslo", "Rome")),
        Column(name="a", kind="continuous"),
    )
)


class FakeScorer:
    """log p(x) is the number in column a, 0 where it is missing; rows below 0 are anomalies."""

    schema = SCHEMA
    num_samples = 64

    def __init__(self):
        self.seen = []

    def score_rows(self, rows, *, num_samples=None, max_std_error=None, target_fpr=None):
        if num_samples not in (None, 16, 64):
            raise ConfigError("num_samples must be one of 16, 64")
        self.seen.append(rows)
        value, calibrated = np.nan_to_num(rows[:, 1]), num_samples in (None, 64) and max_std_error is None
        return Scores(
            **dict.fromkeys(("log_px", "score", "elbo", "ess_ratio", "pareto_k"), value),
            std_error=np.where(value == 1.5, np.nan, 0.25),
            reliable=value < 9.0,
            p_value=np.full(len(rows), target_fpr or 0.5) if calibrated else None,
            is_anomaly=value < 0.0 if calibrated else None,
            num_samples=np.full(len(rows), num_samples or 64),
            reason=["city is new" if code == -1.0 else None for code in rows[:, 0]],
        )

    def flag_rows(self, rows, *, target_fpr=None):
        return Flags(
            is_anomaly=rows[:, 1] < (target_fpr or 0.0),
            num_samples=np.full(len(rows), 16),
            reason=[None] * len(rows),
        )

    def encode_rows(self, rows):
        return np.column_stack([rows[:, 1], -rows[:, 1], rows[:, 0]])

    def sample(self, n, seed):
        """The seed is the number of every row; the cities alternate."""
        return np.column_stack([np.arange(n) % 2, np.full(n, float(seed))])


def scored(tmp_path, scorer=None, text=TEXT, **options):
    path = tmp_path / "out.parquet"
    summary = score_table(scorer or FakeScorer(), csv_table(text), str(path), **options)
    return pq.read_table(path), summary


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
    with pytest.raises(InvalidInput, match=r"--keep tags: list<.*> does not fit in CSV; write to a \.parquet file"):
        score_table(FakeScorer(), open_table(str(source)), str(tmp_path / "out.csv"), keep=["tags"])
    score_table(FakeScorer(), open_table(str(source)), str(tmp_path / "out.parquet"), keep=["tags"])
    assert pq.read_table(tmp_path / "out.parquet")["tags"].to_pylist() == [["x", "y"]]


def test_wrong_options_and_missing_columns_are_refused_before_a_row_is_read(tmp_path):
    class Unread:
        names = ("a", "city")

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


def test_unusable_rows_are_left_out_and_counted():
    book = CodeBook(SCHEMA.categories)
    calls = []
    rows, summary = read_usable(csv_table(TEXT), ["a", "city"], book, lambda so_far: calls.append(so_far.rows))
    np.testing.assert_array_equal(rows, [[1.5, 0.0], [-3.0, 1.0], [np.nan, -1.0]])
    assert (summary.rows, summary.unscored.total(), calls) == (5, 2, [5])
    nothing, _ = read_usable(csv_table("a,city\n"), ["a", "city"], book)
    assert nothing.shape == (0, 2)


def test_the_counts_are_one_line_with_an_example(tmp_path):
    _, summary = scored(tmp_path)
    assert summary.describe() == (
        "5 rows, 1 flagged, 2 not scored (1 ragged, 1 unreadable; for example row 4: the row has 2 cells, the header 3)"
    )
    assert ScoreSummary(rows=1234).describe() == "1,234 rows"


def test_progress_is_reported_after_each_batch(tmp_path):
    text = "a,city\n" + "1,Oslo\n" * 2500
    reported = []
    scored(tmp_path, text=text, on_batch=lambda summary: reported.append(summary.rows))
    assert reported[-1] == 2500
    assert len(reported) > 1
    assert reported == sorted(set(reported))
