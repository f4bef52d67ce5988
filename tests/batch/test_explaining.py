"""Explanations beside scores: which rows are explained, in which place, and with which texts."""

from __future__ import annotations

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from anomaly_vae.batch import OUTPUT_SCHEMA, Explaining
from anomaly_vae.batch.explaining import ToExplain, text_inputs
from anomaly_vae.errors import ConfigError
from anomaly_vae.score_options import ScoreOptions
from tests.support.batches import SCHEMA, FakeScorer, scored

# Row 2 is unreadable, row 4 is ragged; rows 3, 5, 6 and 7 are flagged, rows 5 and 7 have new cities.
TEXT = "id,a,city\nr1,1.5,Oslo\nr2,high,Rome\nr3,-3,Rome\nr4,4\nr5,-5,Bonn\nr6,-1,Oslo\nr7,-2, Köln \n"
OSLO, ROME, BONN, KOELN = (
    f"city {text}: expected another value given the rest (2 nats)"
    for text in ("'Oslo'", "'Rome'", "'Bonn' (never in training)", "'Köln' (never in training)")
)


def explained(tmp_path, scorer=None, *, columns=2, every=False, **options):
    options = {"text": TEXT, "overwrite": True} | options
    return scored(tmp_path, scorer, explaining=Explaining(top=columns, every=every), **options)


def test_flagged_rows_are_explained_in_their_places_with_the_texts_of_the_input(tmp_path):
    """The model knows a new text only as new."""
    scorer, seen = FakeScorer(), []
    table, summary = explained(tmp_path, scorer, keep=["id"], on_batch=lambda so_far: seen.append(so_far.explained))
    whys = [("why_1", pa.string()), ("why_2", pa.string())]
    assert table.schema.equals(pa.schema([("id", pa.string()), *OUTPUT_SCHEMA, *whys]))
    assert table["why_1"].to_pylist() == [None, None, ROME, None, BONN, OSLO, KOELN]
    assert table["why_2"].to_pylist()[2] == "a -3: expected another value given the rest (2 nats)"
    assert scorer.explained == [[1.0, -3.0], [-1.0, -5.0], [0.0, -1.0], [-1.0, -2.0]]
    assert (seen, summary.explained) == ([4, 4], 4)


def test_a_column_of_texts_may_be_kept_or_not(tmp_path):
    table, _ = explained(tmp_path, keep=["city", "id"])
    assert table.column_names[:3] == ["city", "id", "log_px"]
    assert table["why_1"].to_pylist()[4] == BONN


def test_every_row_with_a_score_is_explained_on_request(tmp_path):
    table, summary = explained(tmp_path, every=True)
    assert table["why_1"].to_pylist() == [OSLO, None, ROME, None, BONN, OSLO, KOELN]
    assert summary.explained == 5
    options = ScoreOptions(num_samples=16)
    with pytest.warns(UserWarning, match="no p-value and no flag"):
        table, _ = explained(tmp_path, every=True, options=options)
    assert table["why_1"].null_count == 2


def test_only_rows_that_are_written_are_explained(tmp_path):
    """Rows 5 and 3 have the lowest scores; row 1 is not flagged."""
    scorer = FakeScorer()
    table, summary = explained(tmp_path, scorer, columns=1, only_flagged=True)
    assert table["row"].to_pylist() == [3, 5, 6, 7]
    assert table["why_1"].to_pylist() == [ROME, BONN, OSLO, KOELN]
    for flagged in (False, True):
        scorer = FakeScorer()
        table, summary = explained(tmp_path, scorer, columns=1, only_flagged=flagged, top=3)
        assert table["row"].to_pylist() == [5, 7, 3]  # new cities rank below all others
        assert table["why_1"].to_pylist() == [BONN, KOELN, ROME]
        assert (len(scorer.explained), summary.explained) == (3, 3)


def test_a_long_text_is_cut(tmp_path):
    table, _ = explained(tmp_path, text=f"a,city\n-1,{'x' * 5000}\n")
    assert table["why_1"][0].as_py().startswith(f"city '{'x' * 59}…' (never in training)")


@pytest.mark.parametrize("options", [ScoreOptions(num_samples=16), ScoreOptions(max_std_error=0.5)])
def test_without_flags_there_is_nothing_to_explain(tmp_path, options):
    with pytest.raises(ConfigError, match="--explain is for flagged rows, and there are no flags"):
        explained(tmp_path, options=options)
    assert not (tmp_path / "out.parquet").exists()


def test_a_kept_column_may_not_have_the_name_of_an_explanation(tmp_path):
    with pytest.raises(ConfigError, match="--keep why_2: the output has a column of that name"):
        explained(tmp_path, text="a,city,why_2\n1,Oslo,x\n", keep=["why_2"])


def test_rows_keep_their_cells_when_they_are_chosen_joined_and_spread():
    wanted, cells = np.array([True, False, True, True]), np.arange(6.0).reshape(3, 2)
    texts = pa.RecordBatch.from_pydict({"city": ["a", "b", "c"]})
    whole = ToExplain(wanted, cells, texts)
    part = whole.take(np.array([3, 1, 0]))
    assert part.wanted.tolist() == [True, False, True]
    assert part.rows.tolist() == [[4.0, 5.0], [0.0, 1.0]]
    assert part.texts["city"].to_pylist() == ["c", "a"]
    both = ToExplain.join([part, whole.take(np.array([1])), whole])
    assert both.rows[:, 0].tolist() == [4.0, 0.0, 0.0, 2.0, 4.0]
    assert both.texts["city"].to_pylist() == ["c", "a", "a", "b", "c"]
    among = part.among(np.array([False, True, True, False, True]))
    assert among.wanted.tolist() == [False, True, False, False, True]
    assert ToExplain.join([ToExplain(wanted[:0], cells[:0])]).texts is None


def test_the_columns_of_text_are_those_that_categories_are_read_from():
    assert text_inputs(SCHEMA) == ("city",)


def test_a_service_that_explains_no_rows_is_refused_before_a_row_is_scored(tmp_path):
    class Old(FakeScorer):
        def explain_rows(self, _rows, **_options):
            raise ConfigError("the service is of a release that explains no rows")

    scorer = Old()
    with pytest.raises(ConfigError, match="of a release that explains no rows"):
        explained(tmp_path, scorer)
    assert not scorer.seen
    assert not (tmp_path / "out.parquet").exists()


def test_only_the_first_column_is_named_if_the_others_are_not_surprising(tmp_path):
    class Calm(FakeScorer):
        def _why(self, column, value):
            return msgspec.structs.replace(super()._why(column, value), excess=1.9)

    table, _ = explained(tmp_path, Calm())
    assert table["why_1"].null_count == 3
    assert table["why_2"].null_count == 7
