"""What the manifest keeps of the calibration rows, column by column."""

import msgspec
import numpy as np
import pytest

from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.columns.statistics import (
    QUANTILES,
    ColumnStatistics,
    RowStatistics,
    numbers_of,
    ranks_of,
    statistics_of,
)

SCHEMA = Schema(
    columns=(
        Column(name="amount", kind="continuous"),
        Column(name="colour", kind="categorical", categories=("blue", "red"), other_share=0.1, novelty="lowest"),
        Column(name="on", kind="binary", novelty="lowest"),
        Column(name="unit", kind="constant", value=7.0, novelty="lowest"),
        Column(name="hour", kind="cyclic", period=24.0),
    )
)
NAN = np.nan
ROWS = np.array([[3.0, 0, 1, 7, 25], [1.0, 2, 0, 7, 2], [NAN, NAN, 1, 8, 3], [2.0, 1, NAN, 7, 23], [5.0, 1, 0.5, 7, 0]])


def test_numbers_have_quantiles_and_levels_have_counts():
    found = statistics_of(SCHEMA, ROWS)
    amount, colour, on, unit, hour = found.columns
    assert (amount.missing, amount.quantiles[0], amount.quantiles[7], amount.quantiles[-1]) == (1, 1.0, 2.0, 5.0)
    assert (colour.missing, colour.levels) == (1, (1, 2, 1))
    assert (on.missing, on.levels) == (1, (1, 2, 1))
    assert unit.levels == (4, 1)
    assert set(hour.quantiles) <= {0.0, 1.0, 2.0, 3.0, 23.0}  # 25 is 1 on the circle
    assert found.fits(SCHEMA)
    assert found.num_rows == 5


def test_the_ranks_are_those_of_the_smallest_values_with_at_least_these_shares():
    assert ranks_of(100).tolist() == [1, 1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99, 100]
    assert ranks_of(1).tolist() == [1] * len(QUANTILES)
    assert ranks_of(30)[3] == 3


def test_a_column_without_values_has_no_quantiles():
    found = statistics_of(SCHEMA, np.full((3, 5), NAN))
    assert all(each.missing == 3 and not any(each.levels) and not each.quantiles for each in found.columns)
    assert found.fits(SCHEMA)


def test_numbers_are_sorted_without_missing_ones():
    assert numbers_of(SCHEMA.columns[0], ROWS[:, 0]).tolist() == [1.0, 2.0, 3.0, 5.0]


def changed(d, **fields):
    found = statistics_of(SCHEMA, ROWS)
    columns = list(found.columns)
    columns[d] = msgspec.structs.replace(columns[d], **fields)
    return RowStatistics(num_rows=5, columns=tuple(columns))


@pytest.mark.parametrize(
    "wrong",
    [
        changed(0, missing=6),
        changed(0, quantiles=(1.0,)),
        changed(0, quantiles=tuple(range(15, 0, -1))),
        changed(0, levels=(4,)),
        changed(1, levels=(1, 3)),
        changed(1, levels=(1, 2, 2)),
        changed(2, quantiles=tuple(range(15))),
        RowStatistics(num_rows=5, columns=(ColumnStatistics(missing=0),)),
    ],
)
def test_statistics_that_cannot_be_of_these_columns_do_not_fit(wrong):
    assert not wrong.fits(SCHEMA)
