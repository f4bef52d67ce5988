"""The threshold is the score of a calibration row, whatever values training never had."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly_vae.bundle.row_calibration import calibrate_rows, usable_schema
from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.errors import InvalidInput

SCHEMA = Schema(
    columns=(
        Column(name="x", kind="continuous"),
        Column(name="unit", kind="constant", value=7.0, other_share=0.01, novelty="lowest"),
        Column(name="side", kind="categorical", categories=tuple("lr"), other_share=0.01, novelty="lowest"),
    )
)


def rows_with(n, units=0, sides=0):
    """Return n rows, the first of them with another unit, the last with another side."""
    rows = np.column_stack([np.arange(n), np.full(n, 7.0), np.zeros(n)])
    rows[:units, 1], rows[n - sides :, 2] = 8.0, -1.0
    return rows


def calibrated(rows, scores, alpha):
    schema, demotions = usable_schema(SCHEMA, rows, alpha)
    return calibrate_rows(schema, rows, scores, alpha, demotions=demotions)


def test_rows_that_rank_lowest_take_ranks_below_the_threshold():
    result = calibrated(rows_with(100, units=2, sides=1), np.arange(100.0), 0.05)
    assert (result.calibration.rank, result.calibration.num_novel) == (5, 3)
    assert result.calibration.threshold == 3.0  # of 2 to 98, after the three lowest
    np.testing.assert_array_equal(result.scores, np.arange(2.0, 99.0))
    np.testing.assert_array_equal(np.flatnonzero(result.lowest), [0, 1, 99])
    assert result.schema == SCHEMA
    assert len(result.warnings) == 1  # 3 of the 5 lowest rows
    assert "column 'unit' (2, such as 8 where training had 7), column 'side' (1" in result.warnings[0]


def test_too_many_of_them_are_ranked_by_their_scores_with_a_warning():
    result = calibrated(rows_with(100, units=5, sides=1), np.arange(100.0), 0.05)
    assert (result.calibration.num_novel, result.calibration.threshold) == (1, 3.0)
    assert [column.novelty for column in result.schema.columns] == [None, "density", "lowest"]
    (text,) = result.warnings
    assert text.startswith("5 of 100 calibration rows have another value in columns that were constant in training")


@given(st.integers(1, 60), st.integers(0, 60), st.integers(0, 60), st.floats(0.001, 0.9))
def test_the_threshold_is_always_the_score_of_a_calibration_row(n, units, sides, alpha):
    scores = np.random.default_rng(n).normal(size=n)
    result = calibrated(rows_with(n, min(units, n), min(sides, n)), scores, alpha)
    assert result.calibration.threshold in scores
    assert result.calibration.num_novel < result.calibration.rank
    assert len(result.scores) == n - result.calibration.num_novel


def test_empty_rows_are_left_out():
    rows = rows_with(21)
    rows[0, [0, 2]] = np.nan
    result = calibrated(rows, np.arange(21.0) - 5.0, 0.05)
    assert (result.calibration.num_rows, result.calibration.threshold) == (20, -4.0)
    np.testing.assert_array_equal(result.used, np.arange(21) > 0)
    with pytest.raises(InvalidInput, match="each of the 3 calibration rows has all its cells missing"):
        calibrated(np.full((3, 3), np.nan), np.zeros(3), 0.2)
