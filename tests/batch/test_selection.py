"""Rows chosen from a job: flagged ones, and the most anomalous ones."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from anomaly_vae.batch import FLAG_SCHEMA, OUTPUT_SCHEMA, selection
from anomaly_vae.errors import ConfigError
from anomaly_vae.score_options import ScoreOptions
from tests.support.batches import FakeScorer, scored

# Rows 2 and 4 cannot be scored; row 6 has a new city and so ranks below all others.
TEXT = "id,a,city\nr1,1.5,Oslo\nr2,high,Rome\nr3,-3,Rome\nr4,4\nr5,-5,Oslo\nr6,8,Bonn\nr7,-3,Oslo\n"
ROW = ("row", pa.int64())


class Ranked(FakeScorer):
    """The p-value is 0.5 for values below 2, also where the score differs, and 0.1 above."""

    def score_rows(self, rows, **options):
        scores = super().score_rows(rows, **options)
        if scores.p_value is not None:
            scores.p_value[scores.score > 2.0] = 0.1
        return scores


def test_only_flagged_rows_are_written_with_the_numbers_of_their_rows(tmp_path):
    table, summary = scored(tmp_path, text=TEXT, only_flagged=True, keep=["id"])
    assert table.schema.equals(pa.schema([ROW, ("id", pa.string()), *OUTPUT_SCHEMA]))
    assert table["row"].to_pylist() == [3, 5, 7]
    assert table["id"].to_pylist() == ["r3", "r5", "r7"]
    assert table["log_px"].to_pylist() == [-3.0, -5.0, -3.0]
    assert (summary.rows, summary.anomalies, summary.written, summary.unscored.total()) == (7, 3, 3, 2)
    flags, _ = scored(
        tmp_path, text=TEXT, only_flagged=True, options=ScoreOptions(flag_only=True), overwrite=True, keep=["id"]
    )
    assert flags.schema.equals(pa.schema([ROW, ("id", pa.string()), *FLAG_SCHEMA]))
    assert flags["row"].to_pylist() == [3, 5, 7]


def test_the_top_rows_are_those_that_rank_lowest_then_by_p_value_then_by_score_then_by_place(tmp_path):
    """Row 6 ranks below all although its p-value is not the lowest; rows 3 and 7 have equal scores."""
    text = TEXT + "r8,3,Oslo\n"
    table, summary = scored(tmp_path, Ranked(), text=text, top=100, keep=["id"])
    assert table["row"].to_pylist() == [6, 8, 5, 3, 7, 1]
    assert table["id"].to_pylist() == ["r6", "r8", "r5", "r3", "r7", "r1"]
    assert (summary.written, summary.most_anomalous_row) == (6, 6)
    first, summary = scored(tmp_path, Ranked(), text=text, top=3, keep=["id"], overwrite=True)
    assert first.equals(table.slice(0, 3))
    assert (summary.rows, summary.written) == (8, 3)


def test_without_p_values_the_top_rows_go_by_score(tmp_path):
    with pytest.warns(UserWarning, match="num_samples is 16"):
        table, _ = scored(tmp_path, Ranked(), text=TEXT, top=3, options=ScoreOptions(num_samples=16))
    assert table["row"].to_pylist() == [6, 5, 3]


def test_with_two_tails_the_top_rows_are_farthest_beyond_either_threshold(tmp_path):
    """The thresholds are 0 and 5: row 7 is 3 nats beyond the upper one, row 4 is 2 below the lower one."""
    text = "a,city\n4,Oslo\n1,Rome\n5.5,Oslo\n-2,Oslo\n2,Rome\n-1,Rome\n8,Oslo\n"
    options = ScoreOptions(tail="both")
    table, summary = scored(tmp_path, text=text, top=5, options=options)
    assert table["row"].to_pylist() == [7, 4, 6, 3, 1]
    assert (summary.anomalies, summary.most_anomalous_row) == (4, 7)
    flags, _ = scored(
        tmp_path, text=text, only_flagged=True, options=ScoreOptions(tail="both", flag_only=True), overwrite=True
    )
    assert flags["row"].to_pylist() == [3, 4, 6, 7]


def test_the_top_of_the_flagged_rows(tmp_path):
    table, summary = scored(tmp_path, text=TEXT, top=2, only_flagged=True)
    assert table["row"].to_pylist() == [5, 3]
    assert (summary.anomalies, summary.written) == (3, 2)


@pytest.mark.parametrize("spare", [0, 8192])
def test_the_top_rows_of_many_batches_are_those_of_a_sort(tmp_path, monkeypatch, spare):
    """Rows are dropped on the way, so memory is bounded; with no spare rows after nearly every batch."""
    monkeypatch.setattr(selection, "_SPARE_ROWS", spare)
    values = np.random.default_rng(5).permutation(20_000)
    text = "id,a,city\n" + "".join(f"r{i},{value},Oslo\n" for i, value in enumerate(values, start=1))
    held = []
    add = selection._Top.add

    def counted(self, records, keys, explained):
        add(self, records, keys, explained)
        held.append(sum(each.num_rows for each in self._records))

    monkeypatch.setattr(selection._Top, "add", counted)
    table, summary = scored(tmp_path, text=text, top=50, keep=["id"])
    expected = np.argsort(values)[:50] + 1
    assert summary.most_anomalous_row == expected[0]
    assert table["row"].to_pylist() == expected.tolist()
    assert table["id"].to_pylist() == [f"r{i}" for i in expected]
    assert max(held) <= 2 * 50 + spare


def test_nothing_to_write_is_a_table_without_rows(tmp_path):
    for options in ({"only_flagged": True}, {"top": 3}):
        table, summary = scored(tmp_path, text="a,city\n", overwrite=True, **options)
        assert (len(table), table.column_names[0], summary.most_anomalous_row) == (0, "row", None)


@pytest.mark.parametrize(
    ("choice", "options", "message"),
    [
        ({"top": 3}, {"flag_only": True}, "--top needs scores, and --flag-only gives none"),
        ({"top": 0}, {}, "--top must be at least 1, got 0"),
        ({"only_flagged": True}, {"num_samples": 16}, "--only-flagged needs flags, and there are none: num_samples"),
        ({"only_flagged": True}, {"max_std_error": 0.5}, "--only-flagged needs flags, and there are none: max_std"),
        ({"top": 3, "keep": ["row"]}, {}, "--keep row: the output has a column of that name"),
    ],
)
def test_choices_that_cannot_be_made_are_refused_before_a_row_is_read(tmp_path, choice, options, message):
    with pytest.raises(ConfigError, match=message):
        scored(tmp_path, text="a,city,row\n1,Oslo,1\n", options=ScoreOptions(**options), **choice)
    assert list(tmp_path.iterdir()) == []


def test_a_column_named_row_can_be_kept_where_every_row_is_written(tmp_path):
    table, _ = scored(tmp_path, text="a,city,row\n1,Oslo,x\n", keep=["row"])
    assert table["row"].to_pylist() == ["x"]
