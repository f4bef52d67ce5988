"""Scores and flags as a table: rows, slices, masks, texts, and conversion to pandas, Arrow and polars."""

import io
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from anomaly_vae.scores import FlagRow, ScoreRow, join
from tests.support.data import NAMES


@pytest.fixture(scope="module")
def rows(new_rows):
    """The third row has a changed constant column, so that it has a reason."""
    changed = new_rows[:9].copy()
    changed[2, 4] = 8.0
    return changed


@pytest.fixture(scope="module")
def scores(scorer, rows):
    return scorer.score(rows)


@pytest.fixture(scope="module")
def contrasted(scores):
    """As of a model of images with a contrast."""
    return replace(scores, contrast=np.linspace(-2.0, 2.0, len(scores)))


def present(scores):
    """The fields that a table shows: those of all models, and the contrast of those that have one."""
    return [name for name in scores.by_row() if name != "contrast" or scores.contrast is not None]


@pytest.fixture(scope="module")
def uncalibrated(scorer, rows):
    return scorer.score_rows(rows, num_samples=64)


def test_one_row_has_plain_values(scores, contrasted, scorer, rows):
    row = scores[2]
    assert isinstance(row, ScoreRow)
    assert row == scores[-7]
    assert row.contrast is None
    for name, value in asdict(contrasted[2]).items():
        assert type(value) in (float, bool, int, str)
        assert value == getattr(contrasted, name)[2]
    flag = scorer.flag(rows)[2]
    assert flag == FlagRow(is_anomaly=True, num_samples=0, reason=row.reason)
    with pytest.raises(IndexError, match="there is no row 9: there are 9 rows, counted from 0"):
        scores[9]


def test_rows_can_be_iterated_and_counted(scores):
    assert len(scores) == 9
    assert [row.log_px for row in scores] == scores.log_px.tolist()
    assert list(scores)[2] == scores[2]


def test_a_mask_or_numbers_give_scores_again(scores, uncalibrated, scorer, rows):
    """In the order of the numbers, for every field."""
    assert scores[scores.is_anomaly].reason[0] == scores.reason[2]
    for whole in (scores, uncalibrated, scorer.flag(rows)):
        for key in ([5, 2, -1], np.arange(9) % 2 == 0, []):
            chosen, numbers = whole[key], np.arange(9)[np.asarray(key, dtype=None if len(key) else int)]
            assert type(chosen) is type(whole)
            assert list(chosen.reason) == [whole.reason[i] for i in numbers]
            for name, values in vars(whole).items():
                if name != "reason" and values is not None:
                    np.testing.assert_array_equal(getattr(chosen, name), values[numbers])
    assert uncalibrated[[1, 2]].p_value is None


def test_other_keys_are_refused(scores):
    with pytest.raises(TypeError, match=r"not by str; fields are attributes, such as scores\.log_px"):
        scores["log_px"]
    with pytest.raises(IndexError, match="the mask has 8 entries, there are 9 rows"):
        scores[scores.is_anomaly[1:]]


def test_the_text_shows_what_decides(scores, uncalibrated, scorer, rows):
    lines = repr(scores).splitlines()
    assert lines[0].startswith(f"Scores: 9 rows, {scores.is_anomaly.sum()} anomal")
    assert lines[1].split() == ["log_px", "std_error", "p_value", "is_anomaly", "reason"]
    assert len(lines) == 2 + 9
    assert lines[4].endswith(f"True  {scores.reason[2]}")
    assert max(map(len, lines)) <= 100
    assert repr(scores[:1]).splitlines()[1].split() == ["log_px", "std_error", "p_value", "is_anomaly"]
    assert repr(uncalibrated[:0]) == "Scores: 0 rows, no p-values and no flags"
    assert repr(uncalibrated).splitlines()[1].split() == ["log_px", "std_error", "reason"]
    assert repr(scorer.flag(rows)[2:3]).splitlines()[0] == "Flags: 1 row, 1 anomaly"
    assert len(repr(scores[[0, 1, 2, 3] * 500]).splitlines()) == 2 + 11
    assert repr(scores[[0] * 2000]).startswith("Scores: 2,000 rows")


def test_notebooks_show_every_field(contrasted, uncalibrated):
    page = contrasted._repr_html_()
    assert [name for name in contrasted.by_row() if f"<th>{name}</th>" not in page] == []
    assert page.count("<tr>") == 1 + 9
    assert "p_value" not in uncalibrated._repr_html_()
    assert "contrast" not in uncalibrated._repr_html_()


def test_rich_shows_the_main_fields(scores):
    console = Console(file=io.StringIO(), width=200)
    console.print(scores)
    assert "Scores: 9 rows" in console.file.getvalue()
    assert scores.reason[2] in console.file.getvalue()


def test_reasons_with_markup_and_control_characters_do_no_harm(scores):
    """A reason repeats a cell, which a stranger may have written."""
    hostile = replace(scores[:1], reason=["<img src=x onerror=alert(1)> [link]\x1b[31m\n"])
    console = Console(file=io.StringIO(), width=200)
    console.print(hostile)
    for shown in (repr(hostile), hostile._repr_html_(), console.file.getvalue()):
        assert "\x1b" not in shown
        assert "[link]\\x1b[31m\\n" in shown
    assert "<img" not in hostile._repr_html_()


def test_a_row_without_p_value_has_none(uncalibrated):
    assert (uncalibrated[0].p_value, uncalibrated[0].is_anomaly) == (None, None)


def test_slices_joined_give_the_whole(scores, contrasted, uncalibrated, scorer, rows):
    for whole in (scores, contrasted, uncalibrated, scorer.flag(rows)):
        joined = join([whole[:4], whole[4:5], whole[5:]])
        assert len(whole[4:5]) == 1
        for name, values in vars(whole).items():
            np.testing.assert_array_equal(getattr(joined, name), values)


def test_to_pandas_has_a_column_for_each_field(scores, contrasted, uncalibrated, scorer, rows):
    frame = scores.to_pandas()
    assert list(frame.columns) == present(scores)
    assert list(contrasted.to_pandas()) == list(contrasted.by_row())
    np.testing.assert_array_equal(contrasted.to_pandas()["contrast"], contrasted.contrast)
    np.testing.assert_array_equal(frame["log_px"], scores.log_px)
    assert frame["is_anomaly"].dtype == frame["reliable"].dtype == bool
    assert frame["num_samples"].dtype == np.int64
    assert frame["reason"].dtype == scores[:2].to_pandas()["reason"].dtype == "string"
    assert frame["reason"][2] == scores.reason[2]
    assert frame["reason"].isna().sum() == 8
    without = uncalibrated.to_pandas()
    assert without["p_value"].isna().all()
    assert without["is_anomaly"].isna().all()
    assert (without["p_value"].dtype, without["is_anomaly"].dtype) == (np.float64, "boolean")
    assert scores[:0].to_pandas().dtypes.equals(frame.dtypes)
    assert uncalibrated[:0].to_pandas().dtypes.equals(without.dtypes)
    assert list(scorer.flag(rows).to_pandas()) == ["is_anomaly", "num_samples", "reason"]


def test_a_data_frame_keeps_its_own_labels(scorer, rows):
    """Otherwise pandas would join by position only where the labels happen to be 0 to N - 1."""
    frame = pd.DataFrame(rows, columns=NAMES, index=[f"day {i}" for i in range(9)]).iloc[::-1]
    scores = scorer.score(frame)
    joined = frame.join(scores.to_pandas(index=frame.index))
    assert joined.loc["day 2", "reason"] == "column 'unit' was always 7.0 in training, is 8.0"
    np.testing.assert_array_equal(joined["log_px"], scores.log_px)
    assert scores[:4].to_pandas(index=["b", "a", "d", "c"]).index.tolist() == ["b", "a", "d", "c"]
    with pytest.raises(ValueError, match="index has 8 labels, there are 9 rows"):
        scores.to_pandas(index=frame.index[1:])


def test_changes_of_the_table_do_not_change_the_scores(scores):
    before = scores.log_px.copy()
    frame = scores.to_pandas()
    frame.loc[0, "log_px"] = 0.0
    np.testing.assert_array_equal(scores.log_px, before)


def test_to_polars_has_typed_columns_with_nulls(scores, contrasted, uncalibrated, scorer, rows):
    pytest.importorskip("polars")
    frame = scores.to_polars()
    assert frame.columns == present(scores)
    assert contrasted.to_polars().columns == list(contrasted.by_row())
    np.testing.assert_array_equal(frame["log_px"].to_numpy(), scores.log_px)
    assert frame["std_error"].null_count() == np.isnan(scores.std_error).sum()
    assert frame["reason"].to_list() == scores.reason
    without = uncalibrated.to_polars()
    assert without["p_value"].null_count() == without["is_anomaly"].null_count() == 9
    assert without["pareto_k"].null_count() == np.isnan(uncalibrated.pareto_k).sum()
    assert without.schema == frame.schema == scores[:0].to_polars().schema
    assert scorer.flag(rows).to_polars().columns == ["is_anomaly", "num_samples", "reason"]


def test_to_arrow_has_typed_columns_with_nulls(scores, contrasted, uncalibrated, scorer, rows):
    table = scores.to_arrow()
    assert table.column_names == present(scores)
    assert contrasted.to_arrow().column_names == list(contrasted.by_row())
    np.testing.assert_array_equal(table["log_px"].to_numpy(), scores.log_px)
    assert table["std_error"].null_count == np.isnan(scores.std_error).sum()
    assert table["reason"].null_count == 8
    without = uncalibrated.to_arrow()
    assert without["p_value"].null_count == without["is_anomaly"].null_count == 9
    assert without.schema == table.schema == scores[:0].to_arrow().schema
    assert scorer.flag(rows).to_arrow().column_names == ["is_anomaly", "num_samples", "reason"]


@pytest.mark.parametrize(
    ("package", "method"), [("pandas", "to_pandas"), ("pyarrow", "to_arrow"), ("polars", "to_polars")]
)
def test_a_missing_package_is_named_with_what_to_do(package, method):
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from anomaly_vae.client.replies import empty_scores\n"
        f"empty_scores(calibrated=True).{method}()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    expected = f"ModuleNotFoundError: {method}() needs {package}: pip install {package}"
    assert done.stderr.splitlines()[-1] == expected


def test_scoring_and_its_results_do_not_import_rich(model_path):
    """The service imports them; its image needs no rich."""
    code = (
        "import sys, anomaly_vae\n"
        f"scorer = anomaly_vae.load({str(model_path)!r})\n"
        "scores = scorer.score([[1e5, 0.0, 1.0, 21.0, 7.0]])\n"
        "repr(scores), scores._repr_html_(), scores[[0]], repr(scorer)\n"
        "print(sorted({'rich', 'pandas', 'pyarrow', 'polars', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
