"""Scores and flags as a table: rows, slices, and conversion to pandas and Arrow."""

import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest

from anomaly_vae.scores import FlagRow, ScoreRow, join


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
def uncalibrated(scorer, rows):
    return scorer.score_rows(rows, num_samples=64)


def test_one_row_has_plain_values(scores, scorer, rows):
    row = scores[2]
    assert isinstance(row, ScoreRow)
    assert row == scores[-7]
    for name, value in asdict(row).items():
        assert type(value) in (float, bool, int, str)
        assert value == getattr(scores, name)[2]
    flag = scorer.flag(rows)[2]
    assert flag == FlagRow(is_anomaly=True, num_samples=0, reason=row.reason)
    with pytest.raises(IndexError):
        scores[9]


def test_rows_can_be_iterated_and_counted(scores):
    assert len(scores) == 9
    assert [row.log_px for row in scores] == scores.log_px.tolist()


def test_a_row_without_p_value_has_none(uncalibrated):
    assert (uncalibrated[0].p_value, uncalibrated[0].is_anomaly) == (None, None)


def test_slices_joined_give_the_whole(scores, uncalibrated, scorer, rows):
    for whole in (scores, uncalibrated, scorer.flag(rows)):
        joined = join([whole[:4], whole[4:5], whole[5:]])
        assert len(whole[4:5]) == 1
        for name, values in vars(whole).items():
            np.testing.assert_array_equal(getattr(joined, name), values)


def test_to_pandas_has_a_column_for_each_field(scores, uncalibrated, scorer, rows):
    frame = scores.to_pandas()
    assert list(frame.columns) == list(vars(scores))
    np.testing.assert_array_equal(frame["log_px"], scores.log_px)
    assert frame["is_anomaly"].dtype == bool
    assert frame["reason"][2] == scores.reason[2]
    assert uncalibrated.to_pandas()["p_value"].isna().all()
    assert len(scores[:0].to_pandas()) == 0
    assert list(scorer.flag(rows).to_pandas()) == ["is_anomaly", "num_samples", "reason"]


def test_to_arrow_has_typed_columns_with_nulls(scores, uncalibrated, scorer, rows):
    table = scores.to_arrow()
    assert table.column_names == list(vars(scores))
    np.testing.assert_array_equal(table["log_px"].to_numpy(), scores.log_px)
    assert table["std_error"].null_count == np.isnan(scores.std_error).sum()
    assert table["reason"].null_count == 8
    without = uncalibrated.to_arrow()
    assert without["p_value"].null_count == without["is_anomaly"].null_count == 9
    assert without.schema == table.schema == scores[:0].to_arrow().schema
    assert scorer.flag(rows).to_arrow().column_names == ["is_anomaly", "num_samples", "reason"]


@pytest.mark.parametrize(("package", "method"), [("pandas", "to_pandas"), ("pyarrow", "to_arrow")])
def test_a_missing_package_is_named_with_what_to_do(package, method):
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from anomaly_vae.client.replies import empty_scores\n"
        f"empty_scores(calibrated=True).{method}()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    expected = f"ModuleNotFoundError: {method}() needs {package}: pip install {package}"
    assert done.stderr.splitlines()[-1] == expected
